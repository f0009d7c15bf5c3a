# SPDX-License-Identifier: MIT
"""What a distillation gave: both scores and their difference, sizes, and what a reader should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastformers.counted import counted

__all__ = ["DistillReport", "ModelSize"]


@dataclass(frozen=True)
class ModelSize:
    """How large a model is.

    Attributes:
        layers: of the encoder; ``None`` where the family is not known.
        parameters: trained numbers, embeddings included, whether they are held as floats or as INT8; ``None`` where the
            model does not show them.
    """

    layers: int | None
    parameters: int | None

    def __str__(self) -> str:
        known = [] if self.layers is None else [counted(self.layers, "layer")]
        if self.parameters is not None:
            known.append(f"{self.parameters / 1e6:.1f} M parameters")
        return ", ".join(known)


@dataclass(frozen=True)
class DistillReport:
    """The result of a distillation.

    Attributes:
        metric: name of the score.
        teacher_score: the teacher's, 0 to 100 (correlations from -100); ``None`` without examples to evaluate on.
        student_score: the student's, on the same examples.
        teacher: its size.
        student: its size.
        examples: how many it was trained on.
        unlabelled: how many of those have no label.
        config: the distillation's config, as JSON values.
        training: the training's own report, as JSON values.
        notes: what a reader should know.
    """

    metric: str
    teacher_score: float | None
    student_score: float | None
    teacher: ModelSize
    student: ModelSize
    examples: int
    unlabelled: int
    config: Mapping[str, Any]
    training: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """The student's score less the teacher's, in points; ``None`` where either is not known."""
        if self.teacher_score is None or self.student_score is None:
            return None
        return self.student_score - self.teacher_score

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values."""
        return {
            "metric": self.metric,
            "teacher_score": self.teacher_score,
            "student_score": self.student_score,
            "difference": self.difference,
            "teacher": vars(self.teacher),
            "student": vars(self.student),
            "examples": self.examples,
            "unlabelled": self.unlabelled,
            "config": dict(self.config),
            "training": dict(self.training),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        difference = "" if self.difference is None else f" ({self.difference:+.2f} points)"
        unlabelled = f", {self.unlabelled} of them without a label" if self.unlabelled else ""
        lines = [
            f"teacher   {_points(self.teacher_score)}  {self.teacher}",
            f"student   {_points(self.student_score)}  {self.student}{difference}",
            f"score     {self.metric}; learned from {counted(self.examples, 'example')}{unlabelled}",
            *(f"note      {note}" for note in (*self.notes, *self.training["notes"])),
        ]
        return "\n".join(line.rstrip() for line in lines)


def _points(score: float | None) -> str:
    return "     -" if score is None else f"{score:6.2f}"
