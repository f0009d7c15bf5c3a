# SPDX-License-Identifier: MIT
"""When what happens: steps, epochs, evaluations, patience; the optimizer, and its learning rate over the steps."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import nn

from fastformers.config import TrainConfig

__all__ = ["Plan", "make_optimizer", "make_schedule", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        steps: in all.
        steps_per_epoch: of one pass over the training set.
        evaluate_every: steps between evaluations.
        patience: evaluations in a row without a better score that end the run; ``None``: it goes on.
    """

    steps: int
    steps_per_epoch: int
    evaluate_every: int
    patience: int | None

    def evaluates_at(self, step: int) -> bool:
        """Whether there is an evaluation after this many steps."""
        return step % self.evaluate_every == 0 or step == self.steps

    def epoch(self, step: int) -> float:
        """Passes over the training set after this many steps."""
        return step / self.steps_per_epoch

    def is_enough(self, evaluations_without_gain: int) -> bool:
        """Whether patience has ended."""
        return self.patience is not None and evaluations_without_gain >= self.patience


def plan_of(config: TrainConfig, examples: int) -> Plan:
    """Returns the plan for a training set.

    Example:
        >>> plan_of(TrainConfig(epochs=2, batch_size=4, accumulation=2), examples=20).steps
        6
    """
    batches = ceil(examples / config.batch_size)
    steps_per_epoch = ceil(batches / config.accumulation)
    steps = config.max_steps or max(1, ceil(config.epochs * steps_per_epoch))
    return Plan(steps, steps_per_epoch, config.evaluate_every or steps_per_epoch, config.patience)


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Returns AdamW over all parameters that are trained, with no decay of vectors: biases and norms."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [one for one in trained if one.dim() <= 1], "weight_decay": 0.0},
    ]
    # Fused: MiniLM's 23 million parameters take 13 ms instead of 63 on two cores, out of some 200 for a step.
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, fused=True
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, steps: int, warmup: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Returns the learning rate's course: up to 1 over the first share of the steps, then straight towards 0.

    Every step learns something: the first has a rate above 0, and 0 would be reached one step after the last.
    """
    rising = ceil(warmup * steps)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return max(0, steps - step) / max(1, steps - rising)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
