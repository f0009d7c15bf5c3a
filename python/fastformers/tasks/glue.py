# SPDX-License-Identifier: MIT
"""GLUE: the official tab-separated files (train.tsv, dev.tsv, test.tsv), label orders of transformers' processors.

A training or validation row is named by its place in the file, a test row by the official index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from fastformers.files.fields import short
from fastformers.files.rows import Row
from fastformers.tasks import metrics, submission
from fastformers.tasks.example import Example
from fastformers.tasks.task import Metrics, Split, Task, TaskFiles

__all__ = ["GLUE"]

_ENTAILMENT = ("entailment", "not_entailment")
_BINARY = ("0", "1")
_FILES: Mapping[Split, str] = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}
_MNLI_FILES: Mapping[Split, str] = {
    "train": "train.tsv",
    "val": "dev_matched.tsv",
    "val_mismatched": "dev_mismatched.tsv",
    "test": "test_matched.tsv",
    "test_mismatched": "test_mismatched.tsv",
}
_COLA_COLUMNS = ("source", "label", "mark", "sentence")


@dataclass(frozen=True)
class _Columns:
    """Reads examples by the names of their columns."""

    first: str
    second: str | None
    label: str

    def __call__(self, row: Row, task: Task, split: Split) -> Iterator[Example]:
        pair = None if self.second is None else row.text(self.second)
        yield Example(self._guid(row, split), row.text(self.first), pair, self._label(row, task, split))

    def _guid(self, row: Row, split: Split) -> str:
        if not split.startswith("test"):
            return row.place.rpartition(" ")[2]
        index = row.values.get("index", row.values.get("id"))
        if index is None:
            raise row.error("has no index: the answers to a test set are written with the official one")
        return str(index)

    def _label(self, row: Row, task: Task, split: Split) -> int | float | None:
        if split.startswith("test"):
            return None
        label = row.text(self.label).strip()
        return _score(row, label) if task.kind == "regression" else task.label_index(row, label)


def _score(row: Row, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise row.error(f"the score {short(text)} is not a number")
    return value


def _task(
    name: str,
    folder: str,
    columns: _Columns,
    labels: tuple[str, ...],
    score_metrics: tuple[str, ...],
    measured: Metrics | None = None,
    files: TaskFiles | None = None,
    submission_name: str | None = None,
    submission_names: Mapping[Split, str] | None = None,
) -> Task:
    return Task(
        name=name,
        kind="classification" if labels else "regression",
        labels=labels,
        score_metrics=score_metrics,
        files=files or TaskFiles(folder, _FILES),
        reader=columns,
        metrics=measured or metrics.Classification(score_metrics),
        submission=submission.tab_rows if labels else submission.number_rows,
        submission_name=submission_name or f"{folder}.tsv",
        submission_names=submission_names or {},
    )


GLUE: tuple[Task, ...] = (
    _task("sst2", "SST-2", _Columns("sentence", None, "label"), _BINARY, ("accuracy",)),
    _task("mrpc", "MRPC", _Columns("#1 String", "#2 String", "Quality"), _BINARY, ("accuracy", "f1")),
    _task(
        "cola",
        "CoLA",
        _Columns("sentence", None, "label"),
        _BINARY,
        ("matthews",),
        metrics.Classification(("accuracy", "matthews")),
        TaskFiles("CoLA", _FILES, columns={"train": _COLA_COLUMNS, "val": _COLA_COLUMNS}),
    ),
    _task("qnli", "QNLI", _Columns("question", "sentence", "label"), _ENTAILMENT, ("accuracy",)),
    _task("rte-glue", "RTE", _Columns("sentence1", "sentence2", "label"), _ENTAILMENT, ("accuracy",)),
    _task(
        "stsb",
        "STS-B",
        _Columns("sentence1", "sentence2", "score"),
        (),
        ("pearson", "spearman"),
        metrics.correlations,
    ),
    _task(
        "qqp",
        "QQP",
        _Columns("question1", "question2", "is_duplicate"),
        _BINARY,
        ("accuracy", "f1"),
        files=TaskFiles("QQP", _FILES, skip_broken=True),
    ),
    _task(
        "mnli",
        "MNLI",
        _Columns("sentence1", "sentence2", "gold_label"),
        ("contradiction", "entailment", "neutral"),
        ("accuracy",),
        files=TaskFiles("MNLI", _MNLI_FILES),
        submission_name="MNLI-m.tsv",
        submission_names={"val_mismatched": "MNLI-mm.tsv", "test_mismatched": "MNLI-mm.tsv"},
    ),
)
