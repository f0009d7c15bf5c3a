# SPDX-License-Identifier: MIT
"""Training: one loop for fine-tuning and distillation, that picks the best weights and survives being killed."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.training")

from fastformers.training.objective import Objective, TaskObjective  # noqa: E402 - after the check for torch
from fastformers.training.report import TrainingReport  # noqa: E402
from fastformers.training.train import train_  # noqa: E402

__all__ = ["Objective", "TaskObjective", "TrainingReport", "train_"]
