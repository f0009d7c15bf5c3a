# SPDX-License-Identifier: MIT
"""The task's metric of a row's model: found once, kept in ``scores.json``, or taken from the recipe that found it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np

from fastformers import __version__
from fastformers.benchmarking.ladder.rungs import Rung
from fastformers.benchmarking.ladder.systems import Noted
from fastformers.benchmarking.ladder.ways import Contestant
from fastformers.errors import FormatError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes, read_json
from fastformers.recipes.scoring import score_model
from fastformers.tasks import Example, Task, evaluate

__all__ = ["Scores"]

_FILE = "scores.json"
_CHECKED_EXAMPLES = 16
_SAME_SCORE = 1e-6  # points: the same sums in another order
_LIKENESS = 1e-3  # of numbers predicted in batches of other shapes


class Scores:
    """Scores of a ladder's models on its examples.

    Args:
        folder: where ``scores.json`` is kept.
        examples: all labelled.
        data: names those examples.
    """

    def __init__(self, folder: Path, examples: Sequence[Example], data: str) -> None:
        self._file = folder / _FILE
        self._examples, self._data = examples, data
        self._known: dict[str, Any] = read_json(self._file) if self._file.exists() else {}

    def of(self, rung: Rung, contestant: Contestant, identity: str) -> float:
        """Returns the score of a row, 0 to 100.

        Args:
            rung: the row.
            contestant: answers for it.
            identity: of what answers; a score that is kept is of that alone, and of this version.

        Raises:
            FormatError: ``scores.json`` is damaged.
        """
        key = f"{rung.model.name}, {contestant.precision}, {identity[:16]}, {self._data[:16]}, {__version__}"
        if key not in self._known:
            self._known[key] = self._find(rung, contestant)
            replace_file(self._file, json_bytes(self._known))
        score = self._known[key]
        if not isinstance(score, int | float):
            raise FormatError(f"{self._file}: the score of {key!r} is {score!r}: delete the file")
        return float(score)

    def _find(self, rung: Rung, contestant: Contestant) -> float:
        opened = contestant.scored()
        noted = {"float32": rung.model.noted, "int8": rung.model.compiled_noted}.get(contestant.precision)
        if noted is not None and self._holds(noted, opened):
            return noted.score
        return score_model(opened, self._examples).score

    def _holds(self, noted: Noted, opened: Any) -> bool:
        """Whether a noted score is of these examples: as many, the same answers to some, and worth so much.

        Where one of a group is picked (ReCoRD) it is found anew: among some of the examples, others are picked.
        """
        if len(noted.answers) != len(self._examples):
            return False
        stride = max(1, len(self._examples) // _CHECKED_EXAMPLES)
        found = score_model(opened, self._examples[::stride])
        pairs = zip(found.answers, noted.answers[::stride], strict=True)
        alike = all(abs(one - two) <= _LIKENESS for one, two in pairs)
        return alike and isclose(
            self._worth(noted, opened.required_task().task), noted.score, abs_tol=_SAME_SCORE
        )

    def _worth(self, noted: Noted, task: Task) -> float:
        """The score of the noted answers by the labels of now, which may have been mended since."""
        answers = np.asarray(noted.answers)
        logits = answers[:, None] if task.kind == "regression" else np.eye(task.num_labels)[answers]
        return evaluate(task, self._examples, logits)["score"]
