# SPDX-License-Identifier: MIT
"""Small random models of every family and head, whole or pruned, and batches of ragged texts for them."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastformers.rewriting.families import family_of

HEADS = {
    "base": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "answers": "AutoModelForQuestionAnswering",
}
VOCABULARY, PADDING_ID, LENGTH_LIMIT = 90, 1, 40

#: Family -> (configuration class, arguments besides the common ones).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", {"pad_token_id": PADDING_ID}),
    "roberta": ("RobertaConfig", {"pad_token_id": PADDING_ID, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRobertaConfig", {"pad_token_id": PADDING_ID, "type_vocab_size": 2}),
    "camembert": ("CamembertConfig", {"pad_token_id": PADDING_ID, "type_vocab_size": 1}),
    "distilbert": ("DistilBertConfig", {"pad_token_id": PADDING_ID}),
    "electra": ("ElectraConfig", {"pad_token_id": PADDING_ID, "embedding_size": 14}),
    "electra-wide": ("ElectraConfig", {"pad_token_id": PADDING_ID, "embedding_size": "hidden"}),
    "mpnet": ("MPNetConfig", {"pad_token_id": PADDING_ID}),
    "modernbert": (
        "ModernBertConfig",
        {
            "pad_token_id": PADDING_ID,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "local_attention": 6,
        },
    ),
    "modernbert-mean": (
        "ModernBertConfig",
        {
            "pad_token_id": PADDING_ID,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "local_attention": 10,
            "classifier_pooling": "mean",
            "norm_bias": True,
            "mlp_bias": True,
            "attention_bias": True,
            "classifier_bias": True,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}
_DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
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
    """Name of a family, and of its odd relatives."""
    name: str = request.param
    return name


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> str:
    """Name of a head."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def PlanReference() -> Any:
    """The interpreter in ``plan_reference.py``."""
    path = Path(__file__).with_name("plan_reference.py")
    spec = importlib.util.spec_from_file_location("plan_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PlanReference


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """``make_model(family, head="base", seed=0, **sizes)``: random weights large enough for differences to show."""
    transformers = pytest.importorskip("transformers")

    def make(family: str, head: str = "base", seed: int = 0, **changes: Any) -> Any:
        kind, arguments = FAMILIES[family]
        config = getattr(transformers, kind)(**_arguments(kind, arguments, changes, head))
        torch.manual_seed(seed)
        model = getattr(transformers, HEADS[head]).from_config(config).eval()
        randomize_(model)
        return model

    return make


def _arguments(kind: str, own: dict[str, Any], changes: dict[str, Any], head: str) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 44,
        "max_position_embeddings": LENGTH_LIMIT + 2,
        "num_labels": 2 if head == "answers" else 5,
        **own,
        **changes,
    }
    if sizes.get("embedding_size") == "hidden":
        sizes["embedding_size"] = sizes["hidden_size"]
    if kind == "ModernBertConfig" and "hidden_act" in sizes:
        sizes["hidden_activation"] = sizes.pop("hidden_act")
    if kind == "DistilBertConfig":
        sizes = {_DISTILBERT_NAMES.get(name, name): value for name, value in sizes.items()}
    return sizes


def randomize_(model: nn.Module) -> None:
    """Gives every parameter values of a trained model's order, biases and norms included."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.numel():
            nn.init.normal_(module.weight, std=1.2 * module.in_features**-0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.7)
        elif isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.2)


def linear(columns: int, depth: int, bias: bool) -> nn.Linear:
    """A random linear of any size, 0 included."""
    made = nn.Linear(1, 1, bias=bias)  # torch warns of the initialisation of empty ones
    made.in_features, made.out_features = depth, columns
    made.weight = nn.Parameter(1.2 * max(depth, 1) ** -0.5 * torch.randn(columns, depth))
    if bias:
        made.bias = nn.Parameter(0.2 * torch.randn(columns))
    return made.eval()


@pytest.fixture(scope="session")
def prune() -> Callable[..., None]:
    """``prune(model, layer, heads=None, ffn=None)``: replaces the linears of a layer by ones of other sizes."""

    def prune(model: Any, number: int, heads: int | None = None, ffn: int | None = None) -> None:
        found = family_of(model)
        assert found is not None
        encoder = getattr(model, found.names.base, model)
        layer = encoder.get_submodule(found.names.layers)[number]
        names = found.names.block
        hidden = layer.get_submodule(names.output).out_features
        if heads is not None:
            attention = layer.get_submodule(names.attention)
            channels = heads * getattr(attention, names.head_size)
            columns = channels * (3 if len(names.qkv) == 1 else 1)
            for path in names.qkv:
                bias = layer.get_submodule(path).bias is not None
                layer.set_submodule(path, linear(columns, hidden, bias))
            replaced = layer.get_submodule(names.output)
            smaller = linear(hidden, channels, replaced.bias is not None)
            if replaced.bias is not None:
                smaller.bias = replaced.bias
            layer.set_submodule(names.output, smaller)
            if hasattr(attention, "all_head_size"):
                attention.num_attention_heads, attention.all_head_size = heads, channels
        if ffn is not None:
            bias = layer.get_submodule(names.up).bias is not None
            layer.set_submodule(names.up, linear(ffn * (2 if found.names.gated else 1), hidden, bias))
            layer.set_submodule(names.down, linear(hidden, ffn, bias))

    return prune


@pytest.fixture(scope="session")
def make_texts() -> Callable[..., list[list[int]]]:
    """``make_texts(seed=0, count=6)``: token ids of texts of 1 to 40 tokens, without padding ids."""

    def make(seed: int = 0, count: int = 6) -> list[list[int]]:
        chance = random.Random(seed)
        lengths = [1, LENGTH_LIMIT, *(chance.randint(2, LENGTH_LIMIT) for _ in range(count - 2))]
        return [[chance.randrange(PADDING_ID + 1, VOCABULARY) for _ in range(length)] for length in lengths]

    return make


@pytest.fixture(scope="session")
def padded() -> Callable[..., dict[str, Tensor]]:
    """``padded(texts, side="right", extra=0)``: a batch with its attention mask."""

    def pad(texts: list[list[int]], side: str = "right", extra: int = 0) -> dict[str, Tensor]:
        length = max(map(len, texts)) + extra
        ids = torch.full((len(texts), length), PADDING_ID)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            place = slice(0, len(text)) if side == "right" else slice(length - len(text), length)
            ids[row, place], mask[row, place] = torch.tensor(text), 1
        return {"input_ids": ids, "attention_mask": mask}

    return pad
