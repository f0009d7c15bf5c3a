# SPDX-License-Identifier: MIT
"""The grid: models x batches x threads, and the token ids of a cell, the same for every contestant and every run."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.workloads.encoder.models import random_sequence

LENGTHS = (16, 32, 64, 128, 256, 512)
#: Name -> lengths of its sequences. Engines that do not skip padding compute 1,024 tokens of b8mix; 416 are real.
BATCHES: dict[str, tuple[int, ...]] = {
    **{f"b1s{length}": (length,) for length in LENGTHS},
    "b8s128": (128,) * 8,
    "b8mix": (128, 96, 64, 48, 32, 24, 16, 8),
}
#: Which rows the head reads: each sequence's first, as classifiers do, or all.
ROWS = ("first", "all")


@dataclass(frozen=True)
class GridCell:
    """One cell of the grid.

    Attributes:
        model: name of a shape.
        rows: ``"first"`` or ``"all"``.
        batch: key of ``BATCHES``.
        threads: threads of every contestant.
    """

    model: str
    rows: str
    batch: str
    threads: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each sequence."""
        return BATCHES[self.batch]

    def sequences(self) -> list[list[int]]:
        """Returns the token ids."""
        generator = np.random.default_rng(zlib.crc32(self.batch.encode()))
        return [random_sequence(length, generator) for length in self.lengths]


def grid(
    models: Sequence[str], batches: Sequence[str], rows: Sequence[str], threads: int
) -> Iterator[GridCell]:
    """Yields the cells of a thread count, those of one model together: opening a model takes long."""
    for model in models:
        for choice in rows:
            yield from (GridCell(model, choice, batch, threads) for batch in batches)
