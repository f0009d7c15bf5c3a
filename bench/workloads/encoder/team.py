# SPDX-License-Identifier: MIT
"""The contestants' processes of one thread count: opens models, checks answers, takes a cell's readings in rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.workloads.encoder.cells import GridCell
from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestant_process import ContestantError, ContestantProcess
from fastformers.benchmarking.engines import OURS, REFERENCE
from fastformers.benchmarking.engines.batch import Floats, cosine
from fastformers.measuring import interleave


class Team:
    """The processes of one thread count, and which model each has open.

    Args:
        processes: by contestant; among them the reference, timed or not.
        entries: contestants that are timed.
        workspace: folder for conversions and answers.
    """

    def __init__(
        self, processes: Mapping[str, ContestantProcess], entries: Sequence[Entry], workspace: Path
    ) -> None:
        self.processes = processes
        self.entries = entries
        self.workspace = workspace
        self._open: dict[str, str] = {}
        self._failures: dict[tuple[str, str], str] = {}

    def measure(self, cell: GridCell, rounds: int, seconds: float) -> dict[str, Any]:
        """Measures one cell in interleaved rounds; the limit's ceilings are read beside each block of ours.

        Returns:
            The cell as JSON: what it is, ``cosine`` of the answers with torch float32 per contestant, ``readings``
            (one entry per round), ``errors``.

        Raises:
            ContestantError: the reference cannot run, or a contestant died while it was timed.
        """
        expected = self._answers(REFERENCE.name, cell)
        cosines: dict[str, float] = {}
        errors: dict[str, str] = {}
        for entry in self.entries:
            if entry.name not in self.processes or not entry.takes_part(cell):
                continue
            try:
                cosines[entry.name] = cosine(self._answers(entry.name, cell), expected)
            except (ContestantError, ValueError) as error:
                errors[entry.name] = str(error)
        readings = {name: partial(self._reading, name, seconds) for name in cosines}
        return {
            "model": cell.model,
            "rows": cell.rows,
            "batch": cell.batch,
            "lengths": list(cell.lengths),
            "threads": cell.threads,
            "cosine": cosines,
            "readings": interleave(readings, rounds),
            "errors": errors,
        }

    def _answers(self, name: str, cell: GridCell) -> Floats:
        """Has a contestant open the cell's model and bind its batch; returns its answers.

        Raises:
            ContestantError: it cannot.
        """
        self._open_model(name, f"{cell.model} {cell.rows}")
        path = self.workspace / f"{name}.npy"
        self.processes[name].ask("prepare", sequences=cell.sequences(), answers=str(path))
        answers: Floats = np.load(path)
        return answers

    def _open_model(self, name: str, model: str) -> None:
        """Has a contestant open a model unless it has; one that failed is not asked again."""
        failure = self._failures.get((name, model))
        if failure is not None:
            raise ContestantError(failure)
        if self._open.get(name) == model:
            return
        self._open[name] = ""
        workspace = self.workspace / model.replace(" ", "-")
        try:
            self.processes[name].ask("open", model=model, workspace=str(workspace))
        except ContestantError as error:
            self._failures[name, model] = str(error)
            raise
        self._open[name] = model

    def _reading(self, name: str, seconds: float, _: int) -> dict[str, Any]:
        action = "block_and_ceilings" if name == OURS.name else "block"
        return self.processes[name].ask(action, seconds=seconds)
