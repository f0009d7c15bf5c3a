# SPDX-License-Identifier: MIT
"""How large the models, texts and batches of a run are: in full, or tiny to try the run on a CPU."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from fastformers.benchmarking.ladder.preset import preset_table
from fastformers.quantization.inputs import bundled_texts


@dataclass(frozen=True)
class Sizes:
    """Sizes of a run.

    Attributes:
        batch: texts of a batch.
        lengths: tokens of a text, in the section of precisions.
        batches: of one reading there.
        texts: of the other sections.
        median_tokens: of those texts; their lengths are log-normal, as passages of BoolQ are.
        rounds: of every section, at least 3.
        table: shapes of the ladder's models, as ``data/ladders/table3.toml`` has them.
    """

    batch: int
    lengths: tuple[int, ...]
    batches: int
    texts: int
    median_tokens: int
    rounds: int
    table: dict[str, Any]


def full() -> Sizes:
    """The paper's: batches of 256, the shapes of Table 3, as many texts as BoolQ has in validation."""
    return Sizes(256, (128, 512), 2, 3270, 125, 5, preset_table("table3"))


def tiny() -> Sizes:
    """Small enough for a CPU; what it measures means nothing."""
    table = preset_table("table3")
    small = {"layers": 1, "hidden": 30, "heads": 3, "head_size": 10, "ffn": 44}
    smaller = {"heads": 2, "ffn": 21}
    models = [
        {**shape, **small, **(smaller if shape["role"] == "pruned" else {})} for shape in table["model"]
    ]
    return Sizes(4, (8, 16), 1, 12, 10, 3, {**table, "max_length": 32, "model": models})


def texts_of(sizes: Sizes) -> list[str]:
    """Words of the texts that come with the package, in texts whose lengths are spread as those of BoolQ."""
    choose = random.Random(0)
    words = " ".join(bundled_texts()).split()
    found = []
    for _ in range(sizes.texts):
        count = max(3, round(sizes.median_tokens * choose.lognormvariate(0, 0.5) / 1.3))  # 1.3 tokens a word
        start = choose.randrange(len(words))
        found.append(" ".join((words[start:] + words)[:count]))
    return found
