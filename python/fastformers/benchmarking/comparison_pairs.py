# SPDX-License-Identifier: MIT
"""The processes of a comparison: one for each pair of a model and an engine, the model open, the batch bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastformers.benchmarking.comparison import ComparisonSettings
from fastformers.benchmarking.contestant_process import ContestantError, ContestantProcess
from fastformers.benchmarking.contestants import Contestant
from fastformers.benchmarking.encoder_worker import MODULE
from fastformers.benchmarking.engines import REFERENCE
from fastformers.benchmarking.engines.batch import Floats, cosine

__all__ = ["Pair", "PairProcesses"]

_SOURCE = f"{MODULE}:open_folder"


@dataclass(frozen=True)
class Pair:
    """One engine on one model.

    Attributes:
        model: folder, as given.
        engine: what runs it.
        label: how messages call it.
        timed: False for a reference that was not asked for.
    """

    model: str
    engine: Contestant
    label: str
    timed: bool

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with its answers."""
        return self.engine.name == REFERENCE.name


class PairProcesses:
    """Starts the processes and asks them; who fails is noted and left out.

    Args:
        folder: for conversions and answers; exists.
        settings: threads and length of a block.
        cores: logical CPUs to pin to.
        stack: ends the processes when it is closed.

    Attributes:
        ready: pairs whose model is open, in the order in which they were opened.
        left_out: who failed, and why.
    """

    def __init__(
        self, folder: Path, settings: ComparisonSettings, cores: Sequence[int], stack: ExitStack
    ) -> None:
        self.ready: list[Pair] = []
        self.left_out: dict[str, str] = {}
        self._folder = folder
        self._settings = settings
        self._cores = cores
        self._stack = stack
        self._processes: dict[str, ContestantProcess] = {}

    def open(self, pair: Pair, workspace: str) -> None:
        """Starts the process of a pair and opens its model."""
        process = ContestantProcess(
            pair.engine, MODULE, self._settings.threads, self._cores, arguments=[_SOURCE]
        )
        self._stack.enter_context(process)
        try:
            process.ask("load")
            model = str(Path(pair.model).absolute())
            process.ask("open", model=model, workspace=str(self._folder / workspace))
        except ContestantError as error:
            self.left_out[pair.label] = str(error)
            process.close()
        else:
            self._processes[pair.label] = process
            self.ready.append(pair)

    def answers(self, batches: Mapping[str, list[list[int]]], batch: str) -> dict[str, Floats]:
        """Binds a batch.

        Args:
            batches: model -> token ids of the batch; models that have no such batch are absent.
            batch: its name, for messages.

        Returns:
            Label -> float32 answers, of the pairs that can run it.
        """
        found = {}
        for pair in self.ready:
            if pair.model not in batches:
                continue
            path = self._folder / "answers.npy"
            try:
                self._processes[pair.label].ask("prepare", sequences=batches[pair.model], answers=str(path))
            except ContestantError as error:
                self.left_out[f"{pair.label}, {batch}"] = str(error)
            else:
                found[pair.label] = np.load(path)
        return found

    def reading_of(self, pair: Pair) -> Callable[[int], float]:
        """Returns a function that times one block: seconds per call of the bound batch.

        It raises ``ContestantError`` when the process fails; the pair is then noted in ``left_out`` and no longer
        ``ready``.
        """
        process, seconds = self._processes[pair.label], self._settings.block_seconds

        def read(_: int) -> float:
            try:
                return float(process.ask("block", seconds=seconds)["seconds"])
            except ContestantError as error:
                self.left_out[pair.label] = f"{error} while it was measured"
                self.ready.remove(pair)
                raise

        return read

    def agreement(self, pair: Pair, answers: Mapping[str, Floats]) -> float | None:
        """Cosine with the reference of the same model, else with the first one of the same shape; None without."""
        references = [one for one in self.ready if one.is_reference]
        own = [one for one in references if one.model == pair.model]
        for reference in own or references:
            expected = answers.get(reference.label)
            if expected is not None and expected.shape == answers[pair.label].shape:
                return cosine(answers[pair.label], expected)
        return None
