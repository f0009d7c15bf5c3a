# SPDX-License-Identifier: MIT
"""What is known of a model's folder without opening the model: what it answers, how it cuts texts, and its form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from fastformers.errors import ConfigError, FormatError
from fastformers.files.fields import ENCODER_FORMAT
from fastformers.files.saved_format import read_manifest
from fastformers.files.strict_json import read_json
from fastformers.recipes.model_folder import LONGEST, described
from fastformers.recipes.recipe_file import Recipe
from fastformers.runtime.tokenizer_files import TOKENIZER_CONFIG
from fastformers.tasks import TASK_FILE, Task, TaskFile
from fastformers.tasks.encoding import TRUNCATIONS

__all__ = ["Form", "check_given_models", "form_of_folder"]

#: A torch model, one with INT8 layers, a compiled encoder.
Form: TypeAlias = Literal["float", "int8", "compiled"]

#: Roles in which a model answers with the head that it has.
_KEEPS_HEAD = {
    "distill": ("teacher",),
    "prune": ("model",),
    "quantize": ("model",),
    "compile": ("model",),
}
#: Positions that RoBERTa's family has and no token takes.
_UNUSED_POSITIONS = 2


def form_of_folder(folder: Path) -> Form:
    """Returns the form of a folder's model; ``"float"`` where it cannot be read: opening it says what is wrong."""
    try:
        manifest = read_manifest(folder)
    except FormatError:
        return "float"
    if manifest.get("format") == ENCODER_FORMAT:
        return "compiled"
    return "int8" if manifest.get("layers") else "float"


def check_given_models(recipe: Recipe, task: Task) -> None:
    """Checks that given models which keep their heads answer the recipe's task, and cut texts as it says.

    Args:
        recipe: with all paths.
        task: what its data is of.

    Raises:
        ConfigError: one answers another task, or other labels, or was made with another length or truncation than the
            recipe names; names stage and model.
        FormatError: a ``task.json`` is damaged.
    """
    for stage in recipe.stages:
        for role in _KEEPS_HEAD.get(stage.kind, ()):
            name = stage.inputs[role]
            folder = recipe.models.get(name)
            if folder is not None:
                place = f"stage {stage.name!r}: {role} {name!r} in {folder}"
                found = TaskFile.load(folder) if (folder / TASK_FILE).exists() else None
                _check_task(place, found, task)
                if (
                    found is not None or role != "teacher"
                ):  # a teacher that says none reads texts as its student does
                    _check_length(place, folder, found, recipe)
                _check_truncation(place, found, recipe)


def _check_task(place: str, found: TaskFile | None, task: Task) -> None:
    if found is not None and (found.task.name, {*found.task.labels}) != (task.name, {*task.labels}):
        raise ConfigError(
            f"{place} is a model for {described(found.task)}, and the recipe is for {described(task)}: "
            "give a model of the recipe's task, or change the recipe's task and data"
        )


def _check_length(place: str, folder: Path, found: TaskFile | None, recipe: Recipe) -> None:
    length = _length_of(folder) if found is None else found.max_length
    if "max_length" in recipe.named and not _is_length(length, recipe.max_length, folder):
        raise ConfigError(
            f"{place} cuts texts after {length} tokens, and [recipe] max_length is {recipe.max_length}: "
            f"write max_length = {length}, or leave it out, which leaves it to the model"
        )


def _check_truncation(place: str, found: TaskFile | None, recipe: Recipe) -> None:
    truncation = TRUNCATIONS[0] if found is None else found.truncation
    if "truncation" in recipe.named and truncation != recipe.truncation:
        raise ConfigError(
            f"{place} cuts texts by {truncation!r}, and [recipe] truncation is {recipe.truncation!r}: "
            f"write truncation = {truncation!r}, or leave it out, which leaves it to the model"
        )


def _length_of(folder: Path) -> int:
    """Of a classifier without ``task.json``: what model and tokenizer take."""
    limits = (_number_in(folder / TOKENIZER_CONFIG, "model_max_length"), _positions_of(folder))
    return min((limit for limit in limits if limit is not None), default=LONGEST)


def _is_length(length: int, named: int, folder: Path) -> bool:
    """Whether a model's length is the one named, or as much of it as the model has positions for."""
    positions = _positions_of(folder)
    return length == named or (
        length < named and positions is not None and length >= positions - _UNUSED_POSITIONS
    )


def _positions_of(folder: Path) -> int | None:
    return _number_in(folder / "config.json", "max_position_embeddings")


def _number_in(path: Path, name: str) -> int | None:
    try:
        found = read_json(path).get(name)
    except FormatError:
        return None
    return found if isinstance(found, int) else None
