# SPDX-License-Identifier: MIT
"""Tiny random models of every family, a tiny tokenizer, and a small classification set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_threads
from model_families import PREFIXES, family_config
from tiny_models import word_pieces
from torch import nn

from fastformers.tasks import EncodedExamples, Example, encode
from fastformers.tasks.custom import task_with_labels

one_torch_thread = torch_threads.one_torch_thread

WORDS = "the cat sat on mat dog ran because so not good bad what who bank river money".split()
TASK = task_with_labels(("bad", "good", "so"))

_OWN: dict[str, dict[str, Any]] = {"electra": {"embedding_size": 14}, "modernbert": {"local_attention": 6}}
#: Every name that a family gives a dropout share in its config.
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "classifier_dropout",
)


def classifier(family: str = "bert", *, seed: int = 0, dropout: float = 0.0, **sizes: Any) -> nn.Module:
    import transformers

    arguments = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "num_labels": len(TASK.labels),
        "pad_token_id": 0,
        **_OWN.get(family, {}),
        **sizes,
    }
    config = family_config(family, **arguments)
    for name in (name for name in DROPOUTS if hasattr(config, name)):
        setattr(config, name, dropout)
    torch.manual_seed(seed)
    model: nn.Module = getattr(transformers, f"{PREFIXES[family]}ForSequenceClassification")(config)
    for parameter in model.parameters():  # as drawn, all models answer nearly the same
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="session")
def build() -> Callable[..., nn.Module]:
    """``build(family, seed=, dropout=, hidden_size=...)`` makes a random classifier in evaluation mode."""
    return classifier


@pytest.fixture(params=sorted(PREFIXES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return word_pieces(WORDS, lower_case=True)


@pytest.fixture(scope="session")
def other_tokenizer() -> Any:
    """Cuts texts into letters."""
    letters = sorted(set("".join(WORDS)))
    return word_pieces([*letters, *(f"##{letter}" for letter in letters)], lower_case=True)


@pytest.fixture(scope="session")
def renumbering_tokenizer() -> Any:
    """Cuts texts into the same words and gives them other numbers."""
    return word_pieces(WORDS[::-1], lower_case=True)


@pytest.fixture(scope="session")
def framing_tokenizer() -> Any:
    """Cuts texts into the same words and frames them as MPNet's does."""
    import transformers

    words = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *WORDS]
    return transformers.MPNetTokenizerFast(vocab={word: place for place, word in enumerate(words)})


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
