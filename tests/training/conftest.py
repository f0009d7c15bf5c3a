# SPDX-License-Identifier: MIT
"""A task that a tiny model can learn: a text with "good" in it is one class, one with "bad" the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_threads
from tiny_models import SPECIAL, word_pieces

from fastformers.tasks import EncodedExamples, Example, Task, encode
from fastformers.tasks.custom import task_with_labels

one_torch_thread = torch_threads.one_torch_thread

WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
LABELS = ("bad", "good")


def wordpiece() -> Any:
    return word_pieces([*WORDS, *LABELS])


def tiny_bert(auto_class: str = "AutoModelForSequenceClassification", **changes: Any) -> Any:
    import transformers

    sizes = {
        "vocab_size": len(SPECIAL) + len(WORDS) + len(LABELS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    }
    config = transformers.BertConfig(**{**sizes, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, auto_class).from_config(config).eval()


def toy_examples(count: int, seed: int) -> list[Example]:
    choose = random.Random(seed)
    examples = []
    for number in range(count):
        label = choose.randrange(2)
        words = [*choose.choices(WORDS, k=choose.randrange(2, 9)), LABELS[label]]
        choose.shuffle(words)
        examples.append(Example(str(number), " ".join(words), None, label))
    return examples


def toy_data(count: int, seed: int, tokenizer: Any) -> EncodedExamples:
    return encode(toy_examples(count, seed), tokenizer, task_with_labels(LABELS), max_length=16)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return wordpiece()


@pytest.fixture(scope="session")
def task() -> Task:
    return task_with_labels(LABELS)


@pytest.fixture(scope="session")
def make_data(tokenizer: Any) -> Callable[..., EncodedExamples]:
    """``make_data(count, seed=0)``: labelled examples, tokenised."""
    return lambda count, seed=0: toy_data(count, seed, tokenizer)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """``make_model(auto_class, **changes)``: a tiny BERT with dropout, random, always the same."""
    return tiny_bert
