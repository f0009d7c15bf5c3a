# SPDX-License-Identifier: MIT
"""What a run knows about itself besides weights and the optimizer: its course, and which weights are the best."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.errors import FormatError

__all__ = ["BestWeights", "RunState"]


@dataclass
class RunState:
    """The course of a run; written with every checkpoint.

    Attributes:
        step: steps done.
        seconds: time taken up to the last checkpoint read.
        loss_sum: losses of the steps since the last evaluation.
        loss_steps: how many these are.
        best_step: the step whose weights are the best; the last evaluated one without scores.
        score: theirs.
        metrics: theirs.
        history: one dict for each evaluation.
        stopped_early: patience ended the run.
    """

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int = 0
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of the whole run up to now."""
        return self.seconds + time.monotonic() - self._start

    @property
    def mean_loss(self) -> float:
        """Over the steps since the last evaluation."""
        return self.loss_sum / max(1, self.loss_steps)

    @property
    def last_score(self) -> float | None:
        """Of the last evaluation; ``None`` before the first, and without a validation set."""
        return self.history[-1].get("score") if self.history else None

    def record(self, epoch: float, learning_rate: float, metrics: Mapping[str, float] | None) -> bool:
        """Adds an evaluation, and says whether the weights of now are the best so far.

        Of equal scores the first counts; without metrics the last.
        """
        row = {
            "step": self.step,
            "epoch": epoch,
            "loss": self.mean_loss,
            "learning_rate": learning_rate,
            "seconds": self.elapsed,
        }
        self.history.append({**row, **(metrics or {})})
        self.loss_sum, self.loss_steps = 0.0, 0
        if metrics is not None and self.score is not None and not metrics["score"] > self.score:
            return False
        self.best_step = self.step
        if metrics is not None:
            self.score = metrics["score"]
            self.metrics = {name: value for name, value in metrics.items() if name != "score"}
        return True

    @property
    def evaluations_without_gain(self) -> int:
        """Evaluations since the best one."""
        return sum(row["step"] > self.best_step for row in self.history)

    def to_dict(self) -> dict[str, Any]:
        """Returns the state as plain JSON values."""
        return {**asdict(self), "seconds": self.elapsed}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunState:
        """Reads what :meth:`to_dict` gave.

        Raises:
            FormatError: fields are missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if set(content) != names:
            raise FormatError(
                f"the state of a run has the fields {sorted(content)}, must have {sorted(names)}"
            )
        return cls(**content)


class BestWeights:
    """A copy of a model's weights in memory."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def take(self, model: nn.Module) -> None:
        """Copies the model's weights, into the same memory each time."""
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name in self.weights:
                    self.weights[name].copy_(tensor)
                else:
                    self.weights[name] = tensor.detach().to("cpu", copy=True).contiguous()

    def put_into(self, model: nn.Module) -> None:
        """Puts the copy back, if there is one."""
        if self.weights:
            model.load_state_dict(self.weights)
