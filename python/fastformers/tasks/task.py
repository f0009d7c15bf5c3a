# SPDX-License-Identifier: MIT
"""What a task is: where its files lie, how a row becomes examples, what the labels are and how answers are scored.

A task is data. Readers and metrics are functions in its fields, so that adding a task means adding a row to a table
(``superglue.py``, ``glue.py``) and nothing asks for a task's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from fastformers.files.fields import short
from fastformers.files.rows import Row
from fastformers.tasks.example import Example

__all__ = ["Logits", "Metrics", "Reader", "Split", "Submission", "Task", "TaskFiles", "TaskKind"]

TaskKind: TypeAlias = Literal["classification", "spans", "regression"]
Split: TypeAlias = str
#: Scores of a model, float32 or float64 of shape [examples, outputs].
Logits: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.floating]]"
#: ``reader(row, task, split)`` gives the examples of a row.
Reader: TypeAlias = "Callable[[Row, Task, Split], Iterable[Example]]"
#: ``metrics(examples, logits)`` gives fractions from 0 to 1 (correlations from -1 to 1) by name.
Metrics: TypeAlias = "Callable[[Sequence[Example], Logits], dict[str, float]]"
#: ``submission(task, examples, logits)`` gives the lines of the official file.
Submission: TypeAlias = "Callable[[Task, Sequence[Example], Logits], Iterable[str]]"

#: How many of a task's labels an error names.
_LABELS_NAMED = 20


@dataclass(frozen=True)
class TaskFiles:
    """Where a task's official files lie.

    Attributes:
        folder: official name of the folder, e.g. ``"BoolQ"``.
        names: split to file name.
        columns: column names, for splits whose file has no header.
        skip_broken: leave out rows with another number of columns or an empty one, with a warning; the official QQP
            has both.
    """

    folder: str
    names: Mapping[Split, str]
    columns: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    skip_broken: bool = False


@dataclass(frozen=True)
class Task:
    """A task: immutable, made by :func:`fastformers.tasks.get_task` or :func:`fastformers.tasks.custom_task`.

    Attributes:
        name: short name, e.g. ``"boolq"``.
        kind: ``"classification"``, ``"spans"`` (classification by marked spans), or ``"regression"``.
        labels: names in index order; empty for regression.
        score_metrics: names of the metrics whose mean is the score.
        files: where the official files lie.
        reader: gives the examples of a row.
        metrics: scores logits against examples.
        submission: writes answers in the official form.
        submission_name: official name of that file.
        span_texts: for each span of an example the text it lies in: 0 for the first, 1 for the pair.
        trains_as: name of the task whose model answers this one, for diagnostics without a training set.
        submission_names: names for splits that have a file of their own, e.g. MNLI's mismatched ones.
        picks_one: of each group of examples the likeliest is the answer, and no example has one of its own.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    score_metrics: tuple[str, ...]
    files: TaskFiles
    reader: Reader
    metrics: Metrics
    submission: Submission
    submission_name: str
    span_texts: tuple[int, ...] = ()
    trains_as: str = ""
    submission_names: Mapping[Split, str] = field(default_factory=dict)
    picks_one: bool = False

    @property
    def main_metric(self) -> str:
        """Name of the metric that picks checkpoints and that reports call the score."""
        name, *others = self.score_metrics
        return f"mean({', '.join(self.score_metrics)})" if others else name

    @property
    def num_labels(self) -> int:
        """Width of the logits: the number of labels, 1 for regression."""
        return max(1, len(self.labels))

    def label_index(self, row: Row, label: str) -> int:
        """Returns the index of a label found in a row.

        Raises:
            FormatError: it is none of the task's.
        """
        try:
            return self.labels.index(label)
        except ValueError:
            named = ", ".join(self.labels[:_LABELS_NAMED])
            more = len(self.labels) - _LABELS_NAMED
            others = f" and {more} others" if more > 0 else ""
            hint = "; numbers are predicted with regression (--regression)" if _has_fraction(label) else ""
            raise row.error(
                f"the label {short(label)} is none of {self.name}'s: {named}{others}{hint}"
            ) from None


def _has_fraction(label: str) -> bool:
    try:
        return not float(label).is_integer()
    except (ValueError, OverflowError):
        return False
