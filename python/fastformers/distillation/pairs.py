# SPDX-License-Identifier: MIT
"""Whether a student can learn from a teacher: the same answers, the same examples, and the same tokens where needed."""

from __future__ import annotations

from typing import Any

from torch import nn

from fastformers.answers import given_class_names
from fastformers.config import DistillConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules import PackedLinear
from fastformers.tasks import EncodedExamples
from fastformers.tasks.fitting import check_fits

__all__ = ["check_pair"]


def check_pair(
    teacher: nn.Module,
    student: nn.Module,
    config: DistillConfig,
    train: EncodedExamples,
    teacher_train: EncodedExamples | None = None,
) -> tuple[str, ...]:
    """Refuses what cannot be distilled.

    Args:
        teacher: the teacher.
        student: the student.
        config: which losses are in use.
        train: the examples in the student's tokenisation.
        teacher_train: the same examples in the teacher's; ``None``: both models read the student's tokens.

    Returns:
        What a report should say about the pair; nothing where there is nothing to say.

    Raises:
        ConfigError: the models answer other questions, the examples are not the same, or too long for a model, tokens
            are compared that differ, hard labels are asked for and none is known, a
            temperature is asked for that nothing reads, or the teacher is the student.
        UnsupportedModelError: the student cannot be trained.

    Example:
        >>> check_pair(teacher, student, DistillConfig(), train)  # doctest: +SKIP
        ()
    """
    _check_student(teacher, student)
    for role, model in (("teacher", teacher), ("student", student)):
        _check_outputs(role, model, train)
    _check_labels(teacher, student)
    check_fits(student, train, role="student", advice="take the student's own tokenizer")
    check_fits(
        teacher,
        train if teacher_train is None else teacher_train,
        role="teacher",
        advice="give the examples in the teacher's tokenisation too, teacher_train",
    )
    if config.hard_labels and not any("labels" in feature for feature in train):
        raise ConfigError(
            f"hard_labels is {config.hard_labels}, and no example has a label: set hard_labels=0"
        )
    if config.temperature != 1.0 and train.task.kind == "regression":
        raise ConfigError(
            f"temperature is {config.temperature:g}, and {train.task.name} predicts numbers, which it does not soften: "
            "set temperature=1"
        )
    other_tokens = teacher_train is not None and _tokens_differ(train, teacher_train)
    if not other_tokens:
        return ()
    if config.looks_at_tokens:
        raise ConfigError(
            "teacher and student cut these texts into different tokens, so hidden states and attention have no "
            "counterparts: set embeddings, hidden_states and attention to 0, or take a student with the teacher's "
            "tokenizer"
        )
    return (
        "teacher and student cut texts into different tokens: only logits pass between them, which worked less well in "
        "the paper (section 2) than within one tokenizer",
    )


def _check_student(teacher: nn.Module, student: nn.Module) -> None:
    if teacher is student:
        raise ConfigError("teacher and student are the same object: copy the teacher, or use make_student")
    if any(isinstance(module, PackedLinear) for module in student.modules()):
        raise UnsupportedModelError(
            "the student holds INT8 layers, which cannot be trained: distil first, quantize after"
        )
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise UnsupportedModelError("the student has no parameters to train: it is compiled, or frozen")


def _check_outputs(role: str, model: nn.Module, train: EncodedExamples) -> None:
    config = _config(model)
    found, task = config.get("num_labels"), train.task
    if found is not None and found != task.num_labels:
        raise ConfigError(f"the {role} gives {found} outputs; the task {task.name} has {task.num_labels}")
    is_regression = config.get("problem_type") == "regression"
    if config.get("problem_type") is not None and is_regression != (task.kind == "regression"):
        raise ConfigError(
            f"the {role} was made for {config['problem_type']}; the task {task.name} is {task.kind}"
        )


def _check_labels(teacher: nn.Module, student: nn.Module) -> None:
    """Class names in order, where both models have them."""
    theirs, ours = (_class_names(model) for model in (teacher, student))
    if theirs and ours and theirs != ours:
        raise ConfigError(
            f"the teacher's classes are {', '.join(theirs)}; the student's are {', '.join(ours)}: "
            "they must be the same, in the same order"
        )


def _class_names(model: nn.Module) -> tuple[str, ...]:
    """Names by index; empty for names that transformers made up."""
    return given_class_names(_config(model).get("id2label"))


def _config(model: nn.Module) -> dict[str, Any]:
    """The model's config as a dict; compiled encoders hold a dict already."""
    config = getattr(model, "config", None)
    if config is None or isinstance(config, dict):
        return config or {}
    return {name: getattr(config, name, None) for name in ("num_labels", "problem_type", "id2label")}


def _tokens_differ(train: EncodedExamples, teacher_train: EncodedExamples) -> bool:
    """Whether any text has other ids.

    Raises:
        ConfigError: the examples are not the same ones.
    """
    if len(train) != len(teacher_train):
        raise ConfigError(
            f"the student has {len(train)} examples, the teacher {len(teacher_train)}: they must be the same"
        )
    for ours, theirs in zip(train.examples, teacher_train.examples, strict=True):
        if (ours.text, ours.text_pair) != (theirs.text, theirs.text_pair):
            raise ConfigError(
                f"example {ours.guid} of the student is {theirs.guid} of the teacher, with another text: "
                "both must have the same examples in the same order"
            )
    return any(
        one["input_ids"] != other["input_ids"] for one, other in zip(train, teacher_train, strict=True)
    )
