# SPDX-License-Identifier: MIT
"""What training did: the score of the weights that were kept, where they come from, and the course of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastformers.config import TrainConfig
from fastformers.counted import counted

__all__ = ["TrainingReport"]


@dataclass(frozen=True)
class TrainingReport:
    """Result of :func:`fastformers.train`; ``print`` it. Its dict is the log saved with the model.

    Attributes:
        task: name of the task.
        metric: name of the metric that is the score.
        score: of the weights kept, 0 to 100; ``None`` without a validation set.
        metrics: all of the task's metrics for these weights, as fractions.
        best_step: the step that made them.
        steps: steps done.
        planned_steps: steps that were to be done.
        stopped_early: patience ended it.
        seconds: time taken, that of interrupted runs included, and without what was lost with them.
        resumed_from: step at which this run took an earlier one up; ``None`` for a run from the start.
        device: what it ran on.
        precision: of the products.
        parameters: of the model, those that are trained.
        examples: in the training set.
        val_examples: in the validation set.
        history: one dict for each evaluation: step, epoch, loss (mean since the one before), learning_rate, seconds,
            and with a validation set score and metrics.
        config: how it was trained.
        notes: what else there is to know.
    """

    task: str
    metric: str
    score: float | None
    metrics: Mapping[str, float]
    best_step: int
    steps: int
    planned_steps: int
    stopped_early: bool
    seconds: float
    resumed_from: int | None
    device: str
    precision: str
    parameters: int
    examples: int
    val_examples: int
    history: tuple[dict[str, Any], ...]
    config: TrainConfig
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values."""
        return {
            **asdict(self),
            "metrics": dict(self.metrics),
            "history": list(self.history),
            "config": self.config.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Returns a few lines for people."""
        return "\n".join([*self._heading(), *map(_history_line, self.history), *self.notes])

    def _heading(self) -> list[str]:
        kept = "no validation set: the last weights are kept"
        if self.score is not None:
            examples = counted(self.val_examples, "example")
            kept = f"{self.metric} {self.score:.2f} on {examples}, at step {self.best_step}"
        end = f"stopped early at step {self.steps} of {self.planned_steps}" if self.stopped_early else ""
        resumed = "" if self.resumed_from is None else f"resumed from step {self.resumed_from}"
        work = (
            f"{counted(self.steps, 'step')} of {self.config.batch_size * self.config.accumulation} on "
            f"{counted(self.examples, 'example')} in {self.seconds:.0f} s, {self.device}, {self.precision}"
        )
        return [f"{self.task}: {kept}", "; ".join(part for part in (work, end, resumed) if part)]


def _history_line(row: Mapping[str, Any]) -> str:
    score = f"  score {row['score']:6.2f}" if "score" in row else ""
    return f"  step {row['step']:6}  epoch {row['epoch']:6.2f}  loss {row['loss']:.4f}{score}"
