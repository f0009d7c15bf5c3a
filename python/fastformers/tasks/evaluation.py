# SPDX-License-Identifier: MIT
"""Scores logits by a task's metrics, and writes them as the leaderboards want them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastformers.errors import ConfigError, NonFiniteError, ShapeError
from fastformers.files.replaced_file import replace_file
from fastformers.tasks.example import Example
from fastformers.tasks.task import Logits, Split, Task

__all__ = ["evaluate", "write_submission"]


def evaluate(task: Task, examples: Sequence[Example], logits: Logits) -> dict[str, float]:
    """Scores a model's answers.

    Args:
        task: the task.
        examples: labelled examples.
        logits: shape [examples, outputs], finite.

    Returns:
        Every metric of the task as a fraction, the official one and the paper's where they differ, and ``"score"``:
        100 times the mean of ``task.score_metrics``.

    Raises:
        ShapeError: the logits' shape is not [examples, outputs].
        NonFiniteError: a logit is NaN or infinite.
        ConfigError: an example has no label.
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> evaluate(task, encoded.examples, predict_logits(model, encoded, batch_size=16))  # doctest: +SKIP
    """
    _check(task, examples, logits)
    metrics = task.metrics(examples, logits)
    return {**metrics, "score": 100.0 * float(np.mean([metrics[name] for name in task.score_metrics]))}


def write_submission(
    task: Task, examples: Sequence[Example], logits: Logits, path: str | Path, split: Split = "test"
) -> Path:
    """Writes a model's answers in the official form.

    Args:
        task: the task.
        examples: usually those of the test split.
        logits: shape [examples, outputs], finite.
        path: file to write, or a folder that gets one of the official name, e.g. ``BoolQ.jsonl``.
        split: that the examples are of; MNLI's mismatched ones have a file of their own.

    Returns:
        The file, which appears when it is complete.

    Raises:
        ShapeError, NonFiniteError: as :func:`evaluate`.
        ConfigError: the folder does not exist.
    """
    _check(task, examples, logits)
    target = Path(path)
    if target.is_dir():
        target = target / task.submission_names.get(split, task.submission_name)
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent} is not a folder: make it first")
    text = "".join(f"{line}\n" for line in task.submission(task, examples, logits))
    replace_file(target, text.encode("utf-8"))
    return target


def _check(task: Task, examples: Sequence[Example], logits: Logits) -> None:
    expected = (len(examples), task.num_labels)
    if not examples or logits.shape != expected:
        raise ShapeError(
            f"logits have shape {list(logits.shape)}; {task.name} needs {list(expected)}, one row or more"
        )
    if not np.isfinite(logits).all():
        row = int(np.nonzero(~np.isfinite(logits))[0][0])
        raise NonFiniteError(f"logits of example {examples[row].guid} are not finite: {logits[row].tolist()}")
