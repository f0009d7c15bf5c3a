# SPDX-License-Identifier: MIT
"""What a contestant's file says: which engine it runs, what kind of numbers it computes with, where it takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.workloads.encoder.cells import GridCell
from fastformers.benchmarking.contestants import Contestant

Kind = Literal["ours", "float32", "dynamic INT8", "static INT8"]


@dataclass(frozen=True)
class Entry:
    """One contestant of the grid.

    Attributes:
        engine: what runs.
        kind: numbers of its linear layers; static INT8 needs calibration, dynamic INT8 does not.
        batches: batches it is measured on; None for all.
        all_rows: also measured with a head that reads all rows, against the limit.
    """

    engine: Contestant
    kind: Kind
    batches: frozenset[str] | None = None
    all_rows: bool = False

    @property
    def name(self) -> str:
        """How tables call it."""
        return self.engine.name

    def takes_part(self, cell: GridCell) -> bool:
        """Says whether it is measured in a cell."""
        return (self.batches is None or cell.batch in self.batches) and (
            cell.rows == "first" or self.all_rows
        )
