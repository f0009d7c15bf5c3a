# SPDX-License-Identifier: MIT
"""Scores the model of any folder on data of its task: trained, distilled, pruned, quantized or compiled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from fastformers.distillation import teacher_logits
from fastformers.errors import ConfigError
from fastformers.recipes.model_folder import OpenedModel, open_model
from fastformers.tasks import Example, Task, get_task, load_examples, predict_logits, write_submission
from fastformers.tasks import evaluate as score_logits
from fastformers.tasks.metrics import answers_of

__all__ = ["Scored", "evaluate", "score_model"]

_LOG = logging.getLogger(__name__)

_BATCH = 32


@dataclass(frozen=True)
class Scored:
    """A model's answers to examples, and what they are worth.

    Attributes:
        metrics: as :func:`fastformers.tasks.evaluate` gives them; ``"score"`` in points, 0 to 100.
        answers: to each example, as :func:`fastformers.tasks.metrics.answers_of` gives them.
    """

    metrics: dict[str, float]
    answers: list[int | float]

    @property
    def score(self) -> float:
        """The task's score, 0 to 100."""
        return self.metrics["score"]


def score_model(opened: OpenedModel, examples: Sequence[Example], *, cache_dir: Path | None = None) -> Scored:
    """Answers labelled examples and scores the answers.

    Args:
        opened: the model.
        examples: labelled ones.
        cache_dir: folder of kept logits, as of :func:`fastformers.distillation.teacher_logits`: of a teacher, for the
            stages that learn from it.

    Raises:
        ConfigError: the folder has no ``task.json``, or an example has no label.
        NonFiniteError: an answer is NaN or infinite.
    """
    encoded = opened.encode(examples)
    task = opened.required_task().task
    device = _device_of(opened.model)
    if cache_dir is None:
        logits = predict_logits(opened.model, encoded, _BATCH, device)
    else:
        kept = teacher_logits(opened.model, encoded, batch_size=_BATCH, device=device, cache_dir=cache_dir)
        logits = kept.numpy()
    answers = answers_of(task, encoded.examples, logits)
    return Scored(score_logits(task, encoded.examples, logits), answers)


def evaluate(
    folder: str | Path,
    data_dir: str | Path,
    *,
    task: str | None = None,
    split: str = "val",
    batch_size: int = 32,
    fixed_length: int | None = None,
    submission: str | Path | None = None,
) -> dict[str, float]:
    """Scores a model on the data of its task: trained, distilled, pruned, quantized or compiled, it is all one.

    Args:
        folder: of a model with its ``task.json``.
        data_dir: the task's files.
        task: a diagnostic that the model's task answers, e.g. ``"axb"`` for a model of RTE; ``None``: its own task.
        split: of the data.
        batch_size: examples of a batch.
        fixed_length: pad every batch to this many tokens, the paper's baseline; ``None`` pads to the batch's longest.
        submission: also write the answers in the official form, to this file, or into this folder under the official
            name.

    Returns:
        All metrics of the task as fractions, and ``"score"``, 0 to 100. Empty where the split has no labels and
        answers were written.

    Raises:
        ConfigError: the folder does not say its task, ``task`` is not one that it answers, the split does not exist or
            has no labels, a text is longer than ``fixed_length``, or truncation removed a marked span of an example
            that needs an answer.
        FormatError: data or model are missing or damaged.
        NonFiniteError: an answer is NaN or infinite.
        MissingExtraError: transformers or scikit-learn is not installed.

    Example:
        >>> ff.evaluate("minilm-boolq", "superglue")["score"]  # doctest: +SKIP
    """
    if submission is not None and not Path(submission).absolute().parent.is_dir():
        raise ConfigError(f"{Path(submission).parent} is not a folder: make it first")
    opened = open_model(folder)
    task_file = opened.required_task()
    chosen = _answered(task_file.task, task)
    examples = load_examples(chosen, data_dir, split)
    if submission is None and any(example.label is None for example in examples):
        raise ConfigError(
            f"the {split} set of {chosen.name} in {data_dir} has examples without a label: only labelled ones have a "
            "score; write the answers with submission (--submission FILE)"
        )
    encoded = replace(task_file, task=chosen).encode(
        examples,
        opened.tokenizer,
        lost_spans="drop" if submission is None else "error",
    )
    if encoded.dropped:
        _LOG.warning("%d examples lost a marked span to the cut and are not scored", len(encoded.dropped))
    longest = max(encoded.lengths)
    if fixed_length is not None and fixed_length < longest:
        raise ConfigError(
            f"fixed_length is {fixed_length}, and a text of the {split} set has {longest} tokens: ask for at least "
            f"{longest} (--fixed-length)"
        )
    logits = predict_logits(opened.model, encoded, batch_size, fixed_length=fixed_length)
    if submission is not None:
        write_submission(chosen, encoded.examples, logits, submission, split)
        if any(example.label is None for example in encoded.examples):
            return {}
    return score_logits(chosen, encoded.examples, logits)


def _answered(own: Task, name: str | None) -> Task:
    """The model's own task, or one that its answers fit."""
    if name is None or name == own.name:
        return own
    task = get_task(name)
    if task.name == own.name:
        return own
    if task.trains_as != own.name:
        raise ConfigError(f"the model answers {own.name}, not {name}")
    return task


def _device_of(model: Any) -> Any:
    """Where a torch model is; compiled encoders have no parameters and are on the CPU."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    first = next(parameters, None)
    return "cpu" if first is None else first.device
