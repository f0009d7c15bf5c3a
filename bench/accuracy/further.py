# SPDX-License-Identifier: MIT
"""Further pairs of texts without labels, for students of RTE: few examples, and a small model soon knows them by heart.

Premise and hypothesis of RTE's test set, of CB's training and test set, and RTE's own pairs once more with a part of
the premise. No label is read, and no text of a validation set.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from fastformers.tasks.rows import json_rows

FURTHER = "further.jsonl"
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
_SHORTEST = 20

Pair = tuple[str, str]


def write_further(data: Path, path: Path) -> int:
    """Writes the pairs as a recipe's `unlabelled` reads them, each once, and says how many they are."""
    train, test, *others = (
        list(_pairs(data / task / f"{part}.jsonl")) for task in ("RTE", "CB") for part in ("train", "test")
    )
    pairs = dict.fromkeys([*test, *chain(*others), *_parts([*train, *test])])
    rows = (json.dumps({"text": premise, "text_pair": hypothesis}) for premise, hypothesis in pairs)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return len(pairs)


def _pairs(path: Path) -> Iterator[Pair]:
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
