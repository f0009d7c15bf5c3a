# SPDX-License-Identifier: MIT
"""Further pairs of texts without labels, for students of tasks with few examples, which they soon know by heart.

For RTE: premise and hypothesis of its test set, of CB's training and test set, and RTE's own pairs once more with a
part of the premise. No label is read, and no pair of a validation set is among them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from fastformers.files.rows import json_rows

FURTHER = "further.jsonl"
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
_SHORTEST = 20

Pair = tuple[str, str]


def write_further(task: str, data: Path, path: Path) -> int:
    """Writes the pairs as a recipe's `unlabelled` reads them, each once, and says how many they are."""
    rows = dict.fromkeys(json.dumps(row) for row in _WRITERS[task](data))
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return len(rows)


def _rte(data: Path) -> Iterator[dict[str, Any]]:
    train, test, *others = (
        list(_premise_and_hypothesis(data / task / f"{part}.jsonl"))
        for task in ("RTE", "CB")
        for part in ("train", "test")
    )
    scored = set(_premise_and_hypothesis(data / "RTE" / "val.jsonl"))  # the test set has one of them, too
    for pair in chain(test, *others, _parts([*train, *test])):
        if pair not in scored:
            yield dict(zip(("text", "text_pair"), pair, strict=True))


def _premise_and_hypothesis(path: Path) -> Iterator[Pair]:
    for row in json_rows(path):
        yield row.text("premise"), row.text("hypothesis")


def _parts(pairs: list[Pair]) -> Iterator[Pair]:
    """Pairs whose premise has several sentences, with one of them, or with all but one."""
    draw = random.Random(0)
    for premise, hypothesis in pairs:
        sentences = [part for part in _SENTENCE.split(premise) if len(part) > _SHORTEST]
        if len(sentences) > 1:
            one = draw.randrange(len(sentences))
            kept = sentences[one : one + 1] if draw.random() < 0.5 else sentences[:one] + sentences[one + 1 :]
            yield " ".join(kept), hypothesis


_WRITERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {"rte": _rte}
