# SPDX-License-Identifier: MIT
"""A tiny checkpoint and a task of a user's own that it can learn, for recipes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tiny_models import save_checkpoint, word_pieces

WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
LABELS = ("bad", "good")


def write_rows(path: Path, count: int, seed: int) -> None:
    choose = random.Random(seed)
    lines = []
    for _ in range(count):
        label = choose.choice(LABELS)
        words = [*choose.choices(WORDS, k=choose.randrange(2, 9)), label]
        choose.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "label": label}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and val.jsonl: the word "bad" or "good" decides."""
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder / "train.jsonl", 96, seed=1)
    write_rows(folder / "val.jsonl", 40, seed=2)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 4 x 64 without a head and its tokenizer, as transformers saves them."""
    return save_checkpoint(
        tmp_path_factory.mktemp("tiny"),
        word_pieces([*WORDS, *LABELS]),
        hidden_size=64,
        num_hidden_layers=4,
        intermediate_size=128,
    )
