# SPDX-License-Identifier: MIT
"""What is odd about a task's labels, for reports: no error, and a reader who is not told takes the score for more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite

from fastformers.tasks.example import Example
from fastformers.tasks.task import Task

__all__ = ["label_notes"]

#: How many labels a note names.
_NAMED = 10


def label_notes(task: Task, val: Iterable[Example]) -> tuple[str, ...]:
    """Returns notes on labels that differ in capitals alone, that are numbers, and on what is not scored.

    That is a label that no validation example has, and numbers to predict that are all the same.

    Args:
        task: its labels are those of the training set.
        val: validation examples; none, where nothing is scored.

    Example:
        >>> label_notes(task_with_labels(("Good", "bad", "good")), ())
        ("'Good' and 'good' are two labels: write them alike if they are one",)
    """
    found = {example.label for example in val}
    return (
        *_written_alike(task.labels),
        *_numbers(task.labels),
        *_unscored(task, found),
        *_constant(task, found),
    )


def _written_alike(labels: tuple[str, ...]) -> Iterator[str]:
    first: dict[str, str] = {}
    for label in labels:
        other = first.setdefault(label.casefold(), label)
        if other != label:
            yield f"{other!r} and {label!r} are two labels: write them alike if they are one"


def _numbers(labels: tuple[str, ...]) -> Iterator[str]:
    """Of ratings such as 1 to 5 nobody knows; fractions are hardly meant as classes."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return
    if all(map(isfinite, numbers)) and not all(number.is_integer() for number in numbers):
        yield (
            f"the labels are {len(labels)} numbers, some with a fraction, and are learned as classes: numbers are "
            "predicted with regression (--regression; in a recipe: regression = true)"
        )


def _unscored(task: Task, found: set[int | float | None]) -> Iterator[str]:
    if not found or task.picks_one:  # where one of a group is picked, labels are not what is scored
        return
    absent = [repr(label) for index, label in enumerate(task.labels) if index not in found]
    if absent:
        more = f" and {len(absent) - _NAMED} others" if len(absent) > _NAMED else ""
        named = f"{', '.join(absent[:_NAMED])}{more}"
        yield f"no validation example has the label {named}: no score tells how well that is learned"


def _constant(task: Task, found: set[int | float | None]) -> Iterator[str]:
    if task.kind == "regression" and len(found) == 1:
        yield (
            f"all validation examples have the number {found.pop()}: nothing correlates with it, so that every score "
            "is 0 and the weights of the first evaluation are kept"
        )
