# SPDX-License-Identifier: MIT
"""Further pairs of texts without labels, for students of tasks with few examples, which they soon know by heart.

For RTE: premise and hypothesis of its test set, of CB's training and test set, and RTE's own pairs once more with a
part of the premise. For COPA: the choices of its test set; premises with the other connective, and with choices of
others. No label is read, and no pair of a validation set is among them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from fastformers.files.rows import Row, json_rows
from fastformers.tasks.superglue import CONNECTIVES, copa_stem

FURTHER = "further.jsonl"
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
_SHORTEST = 20
_OTHERS = 3

Pair = tuple[str, str]


def write_further(task: str, data: Path, path: Path) -> int:
    """Writes the pairs as a recipe's `unlabelled` reads them, each once, and says how many they are."""
    pairs = dict.fromkeys(_WRITERS[task](data))
    rows = (json.dumps({"text": first, "text_pair": second}) for first, second in pairs)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return len(pairs)


def _rte(data: Path) -> Iterator[Pair]:
    train, test, *others = (
        list(_premise_and_hypothesis(data / task / f"{part}.jsonl"))
        for task in ("RTE", "CB")
        for part in ("train", "test")
    )
    scored = set(_premise_and_hypothesis(data / "RTE" / "val.jsonl"))  # the test set has one of them, too
    yield from (pair for pair in chain(test, *others, _parts([*train, *test])) if pair not in scored)


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


def _copa(data: Path) -> Iterator[Pair]:
    """Pairs as `copa-choices` has them; those of the training set itself are not among them."""
    train, test = (list(json_rows(data / "COPA" / f"{part}.jsonl")) for part in ("train", "test"))
    draw, rows = random.Random(0), [*train, *test]
    for row in test:
        yield from _asked(row, row.text("question"), _choices(row))
    for row in rows:
        question = row.text("question")
        yield from _asked(row, next(other for other in CONNECTIVES if other != question), _choices(row))
        yield from _asked(
            row, question, [draw.choice(_choices(other)) for other in draw.sample(rows, _OTHERS)]
        )


def _choices(row: Row) -> list[str]:
    return [row.text("choice1"), row.text("choice2")]


def _asked(row: Row, question: str, choices: list[str]) -> Iterator[Pair]:
    for choice in choices:
        yield copa_stem(row, question), choice


_WRITERS: dict[str, Callable[[Path], Iterator[Pair]]] = {"rte": _rte, "copa-choices": _copa}
