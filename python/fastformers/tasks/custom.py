# SPDX-License-Identifier: MIT
"""A user's own task: ``train.csv`` or ``train.jsonl`` with the columns text, text_pair (optional) and label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastformers.errors import ConfigError, FormatError
from fastformers.files.fields import short
from fastformers.files.rows import Row
from fastformers.files.text_rows import TABLES, well_named
from fastformers.tasks import metrics, submission
from fastformers.tasks.example import Example
from fastformers.tasks.hub import is_hub
from fastformers.tasks.task import Split, Task, TaskFiles

__all__ = ["CUSTOM", "custom_rows", "custom_task", "task_with_labels"]

CUSTOM = "custom"

_COLUMNS = ("text", "text_pair", "label")
_LARGEST = 3.4028234663852886e38  # of float32, in which losses are computed


def custom_task(train_dir: str | Path, regression: bool = False) -> Task:
    """Makes the task of a folder with ``train.csv`` or ``train.jsonl``.

    Args:
        train_dir: the folder.
        regression: labels are numbers to predict; otherwise they are names, of whatever kind, and sorted.

    Returns:
        A task named ``"custom"``; its score is accuracy, or the mean of Pearson's and Spearman's correlations.

    Raises:
        FormatError: a file is missing or malformed; names file and line.
        ConfigError: fewer than two different labels, or the hub instead of a folder.

    Example:
        >>> custom_task("reviews").labels  # doctest: +SKIP
        ('bad', 'good')
    """
    if is_hub(train_dir):
        raise ConfigError(
            "the hub has the official tasks: name one of them, or give the folder of your own files"
        )
    if regression:
        return task_with_labels(())
    labels = {_label_of_text(row) for row in custom_rows(Path(train_dir), "train")}
    if not labels:
        raise FormatError(f"the train set in {train_dir} holds no examples")
    if len(labels) < 2:
        raise ConfigError(
            f"{train_dir} has the labels {sorted(labels)}: two or more are needed; for numbers use regression=True"
        )
    return task_with_labels(tuple(sorted(labels)))


def task_with_labels(labels: tuple[str, ...]) -> Task:
    """Returns the custom task with known labels; without any it predicts numbers."""
    return Task(
        name=CUSTOM,
        kind="classification" if labels else "regression",
        labels=labels,
        score_metrics=("accuracy",) if labels else ("pearson", "spearman"),
        files=TaskFiles("", {split: split for split in ("train", "val", "test")}),
        reader=_read,
        metrics=metrics.Classification(("accuracy", "f1_macro")) if labels else metrics.correlations,
        submission=submission.custom_lines,
        submission_name="predictions.jsonl",
    )


def custom_rows(folder: Path, split: Split) -> Iterator[Row]:
    """Yields the rows of ``<split>.csv`` or ``<split>.jsonl``.

    Raises:
        FormatError: there is neither or both, a row is malformed, or a column is written almost as one of ours.
    """
    found = [path for path in (folder / f"{split}{suffix}" for suffix in TABLES) if path.exists()]
    if len(found) != 1:
        both, word = ("both", "and") if found else ("neither", "nor")
        raise FormatError(
            f"{folder} holds {both} {split}.csv {word} {split}.jsonl: one of them is needed, with the columns text, "
            "label and, for pairs, text_pair"
        )
    return well_named(TABLES[found[0].suffix](found[0]), _COLUMNS)


def _read(row: Row, task: Task, split: Split) -> Iterator[Example]:
    pair = None if row.values.get("text_pair") is None else row.text("text_pair")
    line = row.place.rpartition(" ")[2]
    yield Example(line, row.text("text"), pair, _label(row, task, split))


def _label(row: Row, task: Task, split: Split) -> int | float | None:
    if split == "test" and _says_unknown(row, task):
        return None
    return _number(row) if task.kind == "regression" else task.label_index(row, _label_text(row))


def _says_unknown(row: Row, task: Task) -> bool:
    """Whether a test set's row has no label, or -1, as the official ones are often saved, where that is no class."""
    label = row.values.get("label")
    written = "" if label is None else str(label).strip()
    no_class = task.kind != "regression" and "-1" not in task.labels
    return not written or (no_class and written == "-1")


def _label_of_text(row: Row) -> str:
    """The label of a row that also has a text: without, the labels alone would be found odd."""
    row.text("text")
    return _label_text(row)


def _label_text(row: Row) -> str:
    """A label's name: a text without blanks around it, a whole number's digits, or true and false as JSON has them."""
    value = row.values.get("label")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        raise row.error(
            f"'label' is {short(value)}: a class is a text or a whole number; numbers are predicted with regression "
            "(--regression)"
        )
    return str(value) if isinstance(value, int) else row.text("label", "training needs it").strip()


def _number(row: Row) -> float:
    value = row.values.get("label")
    try:
        number = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        )
    except (ValueError, OverflowError):
        number = None
    if number is None or not abs(number) <= _LARGEST or "_" in str(value):  # Python reads 1_5 as 15
        hint = "; decimals are written with a point" if "," in str(value) else ""
        raise row.error(f"'label' is {short(value)}, must be a number that float32 holds{hint}")
    return number
