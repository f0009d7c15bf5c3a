# SPDX-License-Identifier: MIT
"""Where a student starts: its teacher, a checkpoint that gets the task's head, or a model of ours as it is."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fastformers.config import Head
from fastformers.distillation import make_student
from fastformers.errors import ConfigError
from fastformers.modules.float_weights import with_float32_weights
from fastformers.recipes.model_folder import OpenedModel, open_for_task
from fastformers.tasks import Task

__all__ = ["Student", "open_student"]


@dataclass(frozen=True)
class Student:
    """A model to be trained.

    Attributes:
        model: the model.
        tokenizer: of transformers.
    """

    model: nn.Module
    tokenizer: Any


def open_student(
    folder: Path,
    teacher: OpenedModel,
    task: Task,
    layers: Sequence[int] | None = None,
    activation: str | None = None,
    *,
    seed: int,
    head: Head | None = None,
    heads: int | None = None,
    intermediate: int | None = None,
    hidden: int | None = None,
) -> Student:
    """Opens a student's folder and cuts the model as asked.

    Args:
        folder: the teacher's own, one of transformers, or one of ours.
        teacher: the teacher; not changed.
        task: the task; a head of its width in a checkpoint is kept, any other made anew.
        layers: layers to keep, from 0; ``None`` keeps all.
        activation: of the feed-forward network; ``None`` leaves it.
        seed: of a new head's random weights.
        head: of a checkpoint, as :func:`fastformers.tasks.build_model`.
        heads: attention heads of a layer, as :func:`fastformers.distillation.make_student`; so are the next two.
        intermediate: width of the feed-forward network.
        hidden: width of everything else.

    Raises:
        ConfigError: the folder's model is of another task, is the whole teacher, or cannot be cut like this.
        UnsupportedModelError: the family is unknown, the model's layers are INT8, or a teacher to be cut is compiled.
    """
    is_teacher = folder.resolve() == teacher.folder.resolve()
    cut = {"heads": heads, "intermediate": intermediate, "hidden": hidden, "activation": activation}
    is_cut = layers is not None or any(choice is not None for choice in cut.values())
    if is_teacher and not is_cut:
        raise ConfigError(
            f"{folder} is the teacher's folder, and no layers are chosen, nor a width or another activation: name the "
            "layers that the student keeps"
        )
    if is_teacher and head is not None:
        raise ConfigError(
            f"head is {head!r}, and {folder} is the teacher's folder: its student has the same; leave it"
        )
    if is_teacher:
        teacher.check_not_compiled("cut into a student")
        student = Student(with_float32_weights(deepcopy(teacher.model)), teacher.tokenizer)
    else:
        opened = open_for_task(folder, task, seed=seed, head=head)
        student = Student(opened.model, opened.tokenizer)
    if not is_cut:
        return student
    model = make_student(
        student.model, layers, heads=heads, intermediate=intermediate, hidden=hidden, activation=activation
    )
    return Student(model, student.tokenizer)
