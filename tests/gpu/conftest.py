# SPDX-License-Identifier: MIT
"""The small models of every family and head of tests/rewriting, the tokenizer of tests/export, and texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from fixtures_of import fixtures_of

_MODELS = fixtures_of("export")

one_torch_thread = _MODELS.one_torch_thread
family = _MODELS.family
head = _MODELS.head
make_model = _MODELS.make_model
prune = _MODELS.prune
tokenizer = _MODELS.tokenizer


@pytest.fixture(scope="session")
def texts() -> list[Any]:
    """Texts and pairs of 3 to 23 tokens."""
    choose = random.Random(0)
    words = [" ".join(choose.choices(_MODELS.WORDS, k=count)) for count in (1, 2, 3, 5, 8, 12, 17, 21)]
    return [*words, (words[3], words[2]), words[0], (words[4], words[4])]


@pytest.fixture(scope="session")
def span_classifier(make_model: Callable[..., Any]) -> Any:
    """A BERT with a head over two spans."""
    from fastformers.modules.span_classifier import SpanClassifier

    return SpanClassifier(make_model("bert", "base"), 2, 3, dropout=0.1).eval()
