# SPDX-License-Identifier: MIT
"""Whether a student can learn from a teacher: the same answers, the same examples, and the same tokens where needed."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastformers.answers import has_many_labels
from fastformers.config import DistillConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules import holds_packed_layers
from fastformers.tasks import Collator, EncodedExamples, accepted_inputs
from fastformers.tasks.fitting import check_class_order, check_fits, class_names_of
from fastformers.tasks.prediction import evaluating

__all__ = ["check_pair"]

_Differing = Literal["pieces", "frames", "numbers"]

#: What differs between two tokenisations -> why losses of tokens cannot be computed.
_DIFFERING: dict[_Differing, str] = {
    "pieces": "cut these texts into different tokens, so hidden states and attention have no counterparts",
    "frames": (
        "cut these texts into the same tokens, but put different special tokens around them, and for hidden states and "
        "attention the teacher reads the student's"
    ),
    "numbers": (
        "cut these texts into the same tokens, but number them differently, and for hidden states and attention the "
        "teacher reads the student's numbers"
    ),
}
#: The same -> what a report says of logits.
_ONLY_LOGITS: dict[_Differing, str] = {
    "pieces": (
        "teacher and student cut texts into different tokens: only logits pass between them, which worked less well in "
        "the paper (section 2) than within one tokenizer"
    ),
    "frames": (
        "teacher and student put different special tokens around the same tokens of the texts: only logits pass "
        "between them"
    ),
}


def check_pair(
    teacher: nn.Module,
    student: nn.Module,
    config: DistillConfig,
    train: EncodedExamples,
    teacher_train: EncodedExamples | None = None,
    *,
    eval: EncodedExamples | None = None,
    teacher_eval: EncodedExamples | None = None,
) -> tuple[str, ...]:
    """Refuses what cannot be distilled.

    Args:
        teacher: the teacher.
        student: the student.
        config: which losses are in use.
        train: the examples in the student's tokenisation.
        teacher_train: the same examples in the teacher's; ``None``: both models read the student's tokens.
        eval: the examples that the student is scored on, in its tokenisation.
        teacher_eval: the same examples, as the teacher reads them.

    Returns:
        What a report should say about the pair; nothing where there is nothing to say.

    Raises:
        ConfigError: the models answer other questions, or the task's in another order, or give no logits; there are no
            examples, they are not the same ones, or too long for a model; the student's tokens mean others to the
            teacher, or tokens are compared that differ; hard labels are asked for and none is known, a temperature is
            asked for that nothing reads; or the teacher is the student, or shares parameters with it.
        UnsupportedModelError: the student cannot be trained.

    Example:
        >>> check_pair(teacher, student, DistillConfig(), train)  # doctest: +SKIP
        ()
    """
    _check_student(teacher, student)
    if not len(train):
        raise ConfigError("the training set holds no examples")
    models = {"teacher": teacher, "student": student}
    for role, model in models.items():
        _check_outputs(role, model, train)
    _check_labels(teacher, student)
    for role, model in models.items():
        check_class_order(model, train.task, role=role)
    read = train if teacher_train is None else teacher_train
    _check_texts(student, teacher, train, read)
    _check_texts(student, teacher, eval, teacher_eval)
    if eval is not None and teacher_eval is not None:
        _check_same_examples(eval, teacher_eval, scored=True)
    _check_losses(config, train)
    if teacher_train is None:
        _check_same_words(teacher, student)
    for role, model, encoded in (("teacher", teacher, read), ("student", student, train)):
        _check_logits(role, model, encoded)
    differing = None if teacher_train is None else _differing(train, teacher_train)
    if differing is not None and config.looks_at_tokens:
        raise ConfigError(
            f"teacher and student {_DIFFERING[differing]}: set embeddings, hidden_states and attention to 0, or take a "
            "student with the teacher's tokenizer"
        )
    return (_ONLY_LOGITS[differing],) if differing in _ONLY_LOGITS else ()


def _check_student(teacher: nn.Module, student: nn.Module) -> None:
    if teacher is student:
        raise ConfigError("teacher and student are the same object: copy the teacher, or use make_student")
    theirs = {id(parameter) for parameter in teacher.parameters()}
    shared = [name for name, parameter in student.named_parameters() if id(parameter) in theirs]
    if shared:
        raise ConfigError(
            f"the student shares {shared[0]} with its teacher ({len(shared)} parameters in all), which would change "
            "while the student learns: copy the teacher, or use make_student"
        )
    if holds_packed_layers(student):
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
    if has_many_labels(config.get("problem_type")):
        raise ConfigError(
            f"the {role} gives a text several labels at once ({config['problem_type']}); the task {task.name} has one "
            "answer to each: take another model, or set problem_type in its config to what it was trained for"
        )
    is_regression = config.get("problem_type") == "regression"
    if config.get("problem_type") is not None and is_regression != (task.kind == "regression"):
        raise ConfigError(
            f"the {role} was made for {config['problem_type']}; the task {task.name} is {task.kind}"
        )


def _check_texts(
    student: nn.Module, teacher: nn.Module, ours: EncodedExamples | None, theirs: EncodedExamples | None
) -> None:
    if ours is not None:
        check_fits(student, ours, role="student", advice="take the student's own tokenizer")
    if theirs is not None:
        advice = "give the examples in the teacher's tokenisation too, teacher_train and teacher_eval"
        check_fits(teacher, theirs, role="teacher", advice=advice)


def _check_losses(config: DistillConfig, train: EncodedExamples) -> None:
    if config.hard_labels and not any("labels" in feature for feature in train):
        raise ConfigError(
            f"hard_labels is {config.hard_labels}, and no example has a label: set hard_labels=0"
        )
    if config.temperature != 1.0 and train.task.kind == "regression":
        raise ConfigError(
            f"temperature is {config.temperature:g}, and {train.task.name} predicts numbers, which it does not soften: "
            "set temperature=1"
        )


def _check_same_words(teacher: nn.Module, student: nn.Module) -> None:
    """Tables of different sizes are of different words: after pruning a vocabulary a number means another word."""
    theirs, ours = (_config(model).get("vocab_size") for model in (teacher, student))
    if theirs is not None and ours is not None and theirs != ours:
        raise ConfigError(
            f"the teacher knows {theirs} words, the student {ours}, and both are to read the student's tokens, whose "
            "numbers may be other words to the teacher: give teacher_train, the examples in the teacher's tokenisation"
        )


def _check_logits(role: str, model: nn.Module, encoded: EncodedExamples) -> None:
    """Runs one example: what a model puts out cannot be told from its class."""
    parameter = next(model.parameters(), None)
    batch = accepted_inputs(model, Collator(encoded.tokenizer)([encoded[0]]))
    if parameter is not None:
        batch = {name: tensor.to(parameter.device) for name, tensor in batch.items()}
    with evaluating(model), torch.no_grad():
        logits = getattr(model(**batch), "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ConfigError(
            f"the {role}, a {type(model).__name__}, gives no logits of shape [examples, outputs]: take a model with a "
            "head that classifies texts"
        )


def _check_labels(teacher: nn.Module, student: nn.Module) -> None:
    """Class names in order, where both models have them."""
    theirs, ours = (class_names_of(model) for model in (teacher, student))
    if theirs and ours and theirs != ours:
        raise ConfigError(
            f"the teacher's classes are {', '.join(theirs)}; the student's are {', '.join(ours)}: "
            "they must be the same, in the same order"
        )


def _config(model: nn.Module) -> dict[str, Any]:
    """The model's config as a dict; compiled encoders hold a dict already."""
    config = getattr(model, "config", None)
    if config is None or isinstance(config, dict):
        return config or {}
    return {name: getattr(config, name, None) for name in ("num_labels", "problem_type", "vocab_size")}


def _check_same_examples(ours: EncodedExamples, theirs: EncodedExamples, *, scored: bool) -> None:
    """Where both models are scored labels count too: scores on other ones cannot be compared."""
    where = " to be scored on" if scored else ""
    if len(ours) != len(theirs):
        raise ConfigError(
            f"the student has {len(ours)} examples{where}, the teacher {len(theirs)}: they must be the same"
        )
    for one, other in zip(ours.examples, theirs.examples, strict=True):
        differs = (one.text, one.text_pair) != (other.text, other.text_pair)
        if differs or (scored and one.label != other.label):
            raise ConfigError(
                f"example {one.guid} of the student is {other.guid} of the teacher{where}, with another "
                f"{'text' if differs else 'label'}: both must have the same examples in the same order"
            )


def _differing(train: EncodedExamples, teacher_train: EncodedExamples) -> _Differing | None:
    """What differs between two tokenisations of the same texts, if anything does.

    Raises:
        ConfigError: the examples are not the same ones.
    """
    _check_same_examples(train, teacher_train, scored=False)
    ids = [
        (one["input_ids"], other["input_ids"])
        for one, other in zip(train, teacher_train, strict=True)
        if one["input_ids"] != other["input_ids"]
    ]
    if not ids:
        return None
    words, their_words = (each.tokenizer.convert_ids_to_tokens for each in (train, teacher_train))
    if all(words(one) == their_words(other) for one, other in ids):
        return "numbers"
    ours, theirs = (_special_ids(each.tokenizer) for each in (train, teacher_train))
    same = all(words(_without(ours, one)) == their_words(_without(theirs, other)) for one, other in ids)
    return "frames" if same else "pieces"


def _special_ids(tokenizer: Any) -> set[int]:
    """Tokens that a tokenizer puts around texts; what it does not know of a text is a part of it."""
    return {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}


def _without(special: set[int], ids: list[int]) -> list[int]:
    return [token for token in ids if token not in special]
