# SPDX-License-Identifier: MIT
"""Tiny random models of every family, a tiny tokenizer, and a small classification set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tiny_models import word_pieces
from torch import nn

from fastformers.tasks import EncodedExamples, Example, encode
from fastformers.tasks.custom import task_with_labels

WORDS = "the cat sat on mat dog ran because so not good bad what who bank river money".split()
TASK = task_with_labels(("bad", "good", "so"))

_ROPE = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 6}
#: Family -> (prefix of transformers' classes, arguments besides the common ones).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "roberta": ("Roberta", {}),
    "xlm-roberta": ("XLMRoberta", {}),
    "camembert": ("Camembert", {}),
    "distilbert": ("DistilBert", {}),
    "electra": ("Electra", {"embedding_size": 14}),
    "mpnet": ("MPNet", {}),
    "modernbert": ("ModernBert", _ROPE),
}
_DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
#: Every name that a family gives a dropout share in its config.
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "classifier_dropout",
)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Models this small are slower on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def classifier(family: str = "bert", *, seed: int = 0, dropout: float = 0.0, **sizes: Any) -> nn.Module:
    import transformers

    prefix, extra = FAMILIES[family]
    arguments = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "num_labels": len(TASK.labels),
        "pad_token_id": 0,
        **extra,
        **sizes,
    }
    if family == "distilbert":
        arguments = {_DISTILBERT_NAMES.get(name, name): value for name, value in arguments.items()}
    config = getattr(transformers, f"{prefix}Config")(**arguments)
    for name in (name for name in DROPOUTS if hasattr(config, name)):
        setattr(config, name, dropout)
    torch.manual_seed(seed)
    model: nn.Module = getattr(transformers, f"{prefix}ForSequenceClassification")(config)
    for parameter in model.parameters():  # as drawn, all models answer nearly the same
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="session")
def build() -> Callable[..., nn.Module]:
    """``build(family, seed=, dropout=, hidden_size=...)`` makes a random classifier in evaluation mode."""
    return classifier


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return word_pieces(WORDS, lower_case=True)


@pytest.fixture(scope="session")
def other_tokenizer() -> Any:
    return word_pieces(WORDS[::-1], lower_case=True)


def texts(count: int) -> list[str]:
    """Of one to six words."""
    return [
        " ".join(WORDS[(3 * index + 5 * place) % len(WORDS)] for place in range(1 + index % 6))
        for index in range(count)
    ]


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    return [Example(str(index), text, label=index % len(TASK.labels)) for index, text in enumerate(texts(12))]


@pytest.fixture(scope="session")
def encoded(examples: list[Example], tokenizer: Any) -> EncodedExamples:
    return encode(examples, tokenizer, TASK, max_length=16)
