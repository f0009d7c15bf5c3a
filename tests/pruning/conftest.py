# SPDX-License-Identifier: MIT
"""Tiny classifiers of every family with weights large enough for differences to show, and labelled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

VOCABULARY, PADDING_ID = 90, 1
HEADS, NEURONS, LAYERS = 4, 24, 3

_IDS = {"pad_token_id": PADDING_ID}
_SPECIAL = {**_IDS, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
#: Family -> (configuration class, arguments besides the common ones).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _IDS),
    "roberta": ("RobertaConfig", _IDS),
    "xlm-roberta": ("XLMRobertaConfig", _IDS),
    "camembert": ("CamembertConfig", _IDS),
    "distilbert": ("DistilBertConfig", _IDS),
    "electra": ("ElectraConfig", {**_IDS, "embedding_size": 20}),
    "mpnet": ("MPNetConfig", _IDS),
    "modernbert": ("ModernBertConfig", {**_SPECIAL, "local_attention": 6}),
}
_DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
}


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Models this small are slower on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Name of a model family."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """``make_model(family, auto_class="AutoModelForSequenceClassification", **changes)``: random, always the same."""
    transformers = pytest.importorskip("transformers")

    def make(family: str, auto_class: str = "AutoModelForSequenceClassification", **changes: Any) -> Any:
        kind, own = FAMILIES[family]
        sizes: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": NEURONS,
            "max_position_embeddings": 42,
            "num_labels": 3,
            **own,
            **changes,
        }
        if kind == "DistilBertConfig":
            sizes = {_DISTILBERT_NAMES.get(name, name): value for name, value in sizes.items()}
        config = getattr(transformers, kind)(**sizes)
        torch.manual_seed(0)
        model = getattr(transformers, auto_class).from_config(config).eval()
        _randomize_(model)
        return model

    return make


def _randomize_(model: nn.Module) -> None:
    """Gives every parameter values of a trained model's order, biases and norms included."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.2 * module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.7)
        elif isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            nn.init.normal_(bias, std=0.2)


@pytest.fixture(scope="session")
def examples() -> list[dict[str, Tensor]]:
    """Labelled texts of 3 to 11 tokens, each a batch of one without padding."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for row in range(6):
        ids = torch.randint(4, VOCABULARY, (1, 3 + (5 * row) % 9), generator=generator)
        made.append(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": torch.tensor([row % 3]),
            }
        )
    return made


@pytest.fixture(scope="session")
def together() -> Callable[[list[dict[str, Tensor]]], dict[str, Tensor]]:
    """``together(examples)``: one padded batch."""

    def pad(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        length = max(example["input_ids"].shape[1] for example in examples)

        def rows(name: str, value: int) -> Tensor:
            return torch.cat(
                [
                    nn.functional.pad(example[name], (0, length - example[name].shape[1]), value=value)
                    for example in examples
                ]
            )

        labels = torch.cat([example["labels"] for example in examples])
        return {
            "input_ids": rows("input_ids", PADDING_ID),
            "attention_mask": rows("attention_mask", 0),
            "labels": labels,
        }

    return pad


@pytest.fixture(scope="session")
def logits_of() -> Callable[[Any, list[dict[str, Tensor]]], Tensor]:
    """``logits_of(model, batches)``: logits of all examples, shape [examples, labels]."""

    def run(model: Any, batches: list[dict[str, Tensor]]) -> Tensor:
        with torch.no_grad():
            return torch.cat(
                [
                    model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                    for batch in batches
                ]
            )

    return run
