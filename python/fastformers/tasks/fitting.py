# SPDX-License-Identifier: MIT
"""Whether a model can read encoded texts and their labels, which torch would tell late, in words about tensors, or not.

Beyond its tables it would fail; labels in another order than its classes it would take for other ones.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from fastformers.answers import given_class_names, same_classes
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.encoder_names import parts_of, positions_of
from fastformers.tasks.encoding import EncodedExamples
from fastformers.tasks.task import Task

__all__ = ["check_class_order", "check_fits", "class_names_of"]

_OTHER_TOKENIZER = "the texts were cut by another model's tokenizer"


def check_fits(
    model: Any,
    encoded: EncodedExamples,
    fixed_length: int | None = None,
    *,
    role: str = "model",
    advice: str = _OTHER_TOKENIZER,
) -> None:
    """Checks texts against a model's tables of positions, words and token types.

    Args:
        model: any; compiled encoders, which check for themselves, and unknown families are passed.
        encoded: the texts; none is fine.
        fixed_length: tokens that every text is padded to; ``None`` pads none.
        role: what the model is called in the message.
        advice: what to say of tokens that the model does not know.

    Raises:
        ConfigError: a text, or the fixed length, has more tokens than the model has positions, or a token or a token
            type is not in its table.
    """
    if not isinstance(model, nn.Module):
        return
    positions = positions_of(model)
    if positions is not None:
        _check_lengths(encoded, fixed_length, positions, role)
    for kind, name, rows in _tables(model):
        largest = max((max(feature.get(name, (0,)), default=0) for feature in encoded), default=0)
        if largest >= rows:
            raise ConfigError(
                f"the texts hold the {kind} {largest}, the {role} knows {rows} {kind}s: {advice}"
            )


def class_names_of(model: Any) -> tuple[str, ...]:
    """Names of a model's classes by index; empty where it has none, or those that transformers made up."""
    config = getattr(model, "config", None)  # a compiled encoder's is a dict
    return given_class_names(
        config.get("id2label") if isinstance(config, dict) else getattr(config, "id2label", None)
    )


def check_class_order(model: Any, task: Task, *, role: str = "model") -> None:
    """Refuses a model whose classes are the task's in another order; capitals are no difference.

    Args:
        model: any; its classes may have no names.
        task: whose labels are read as places among them.
        role: what the model is called in the message.

    Raises:
        ConfigError: the order differs.
    """
    names = class_names_of(model)
    order = same_classes(names, task.labels)
    if order is not None and order != sorted(order):
        in_order = tuple(task.labels[place] for place in order)
        raise ConfigError(
            f"the {role}'s classes are {', '.join(names)}, in this order; the labels of the task {task.name} are "
            f"{', '.join(task.labels)}: make the examples of a task in the model's order, for your own files "
            f"fastformers.tasks.custom.task_with_labels({in_order})"
        )


def _check_lengths(encoded: EncodedExamples, fixed_length: int | None, positions: int, role: str) -> None:
    if fixed_length is not None and fixed_length > positions:
        raise ConfigError(
            f"fixed_length is {fixed_length}, the {role} has positions for {positions}: ask for at most {positions}"
        )
    longest = max(encoded.lengths, default=0)
    if longest > positions:
        raise ConfigError(
            f"a text has {longest} tokens, the {role} has positions for {positions}: set max_length={positions}"
        )


def _tables(model: nn.Module) -> list[tuple[str, str, int]]:
    """What a table holds, the input that is looked up in it, and its rows."""
    try:
        parts = parts_of(model)
    except UnsupportedModelError:
        return []
    paths = parts.names.embeddings
    named = (("token id", "input_ids", paths.word), ("token type", "token_type_ids", paths.type))
    tables: list[tuple[str, str, Any]] = [
        (kind, name, parts.encoder.get_submodule(path)) for kind, name, path in named if path is not None
    ]
    return [(kind, name, int(table.num_embeddings)) for kind, name, table in tables]
