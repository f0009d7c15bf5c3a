# SPDX-License-Identifier: MIT
"""Tasks: data of SuperGLUE, GLUE and a user's own files; templates, batches, models, metrics, submissions."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.tasks")

from fastformers.tasks.batching import Collator, length_batches  # noqa: E402 - after the check that torch is there
from fastformers.tasks.building import build_model  # noqa: E402
from fastformers.tasks.custom import custom_task  # noqa: E402
from fastformers.tasks.encoding import EncodedExamples, LostSpans, Truncation, encode  # noqa: E402
from fastformers.tasks.evaluation import evaluate, write_submission  # noqa: E402
from fastformers.tasks.example import Example  # noqa: E402
from fastformers.tasks.hub import load_hub_examples  # noqa: E402
from fastformers.tasks.loading import load_examples  # noqa: E402
from fastformers.tasks.prediction import accepted_inputs, predict_logits  # noqa: E402
from fastformers.tasks.registry import TASK_NAMES, get_task  # noqa: E402
from fastformers.tasks.task import Task  # noqa: E402
from fastformers.tasks.task_file import TASK_FILE, TaskFile  # noqa: E402

__all__ = [
    "TASK_FILE",
    "TASK_NAMES",
    "Collator",
    "EncodedExamples",
    "Example",
    "LostSpans",
    "Task",
    "TaskFile",
    "Truncation",
    "accepted_inputs",
    "build_model",
    "custom_task",
    "encode",
    "evaluate",
    "get_task",
    "length_batches",
    "load_examples",
    "load_hub_examples",
    "predict_logits",
    "write_submission",
]
