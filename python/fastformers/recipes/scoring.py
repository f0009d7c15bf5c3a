# SPDX-License-Identifier: MIT
"""Scores the model of any folder on examples of its task, whatever kind of model it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from fastformers.recipes.model_folder import OpenedModel
from fastformers.tasks import Example, evaluate, predict_logits

__all__ = ["Scored", "score_model"]

_BATCH = 32


@dataclass(frozen=True)
class Scored:
    """A model's answers to examples, and what they are worth.

    Attributes:
        metrics: as :func:`fastformers.tasks.evaluate` gives them; ``"score"`` in points, 0 to 100.
        answers: index of the label chosen for each example; of a regression the number predicted.
        unanswered: examples left out because truncation removed a span.
    """

    metrics: dict[str, float]
    answers: list[int | float]
    unanswered: int

    @property
    def score(self) -> float:
        """The task's score, 0 to 100."""
        return self.metrics["score"]


def score_model(opened: OpenedModel, examples: Sequence[Example]) -> Scored:
    """Answers labelled examples and scores the answers.

    Raises:
        ConfigError: the folder has no ``task.json``, or an example has no label.
    """
    encoded = opened.encode(examples)
    task = opened.required_task().task
    logits = predict_logits(opened.model, encoded, _BATCH, _device_of(opened.model))
    answers = logits[:, 0] if task.kind == "regression" else np.argmax(logits, 1)
    return Scored(evaluate(task, encoded.examples, logits), answers.tolist(), len(encoded.dropped))


def _device_of(model: Any) -> Any:
    """Where a torch model is; compiled encoders have no parameters and are on the CPU."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    first = next(parameters, None)
    return "cpu" if first is None else first.device
