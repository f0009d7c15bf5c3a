# SPDX-License-Identifier: MIT
"""The small models of every family and head of tests/rewriting, the tokenizer of tests/export, and texts."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).parent.parent / "export" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("models_and_tokenizer", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODELS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODELS)

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
