# SPDX-License-Identifier: MIT
"""What a search asks of its recipe, checked for every student before the first one is timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers.config import Head
from fastformers.errors import ConfigError
from fastformers.recipes.plan_checks import check_stages, shape_of_folder
from fastformers.recipes.recipe_file import Recipe
from fastformers.recipes.recipe_stages import SHAPING
from fastformers.recipes.search_space import SearchSpace
from fastformers.tasks import Task

__all__ = ["Start", "check_search", "starting_checkpoint"]


@dataclass(frozen=True)
class Start:
    """What a model begins as.

    Attributes:
        folder: of its checkpoint.
        activation: that it gets, if another.
        head: that it gets, if not the class's own.
    """

    folder: Path
    activation: str | None
    head: Head | None

    def with_options(self, options: Mapping[str, Any]) -> Start:
        """Returns it with what a stage gives it, where it gives something."""
        return Start(
            self.folder,
            options.get("activation") or self.activation,
            options.get("head") or self.head,
        )


def check_search(recipe: Recipe, space: SearchSpace, task: Task) -> int:
    """Checks that every student of a space can be made.

    Args:
        recipe: with all paths.
        space: its students.
        task: what its data is of.

    Returns:
        The number of layers of what students are cut from.

    Raises:
        ConfigError: a student is deeper than what it is cut from, or is the teacher itself; the teacher or the student
            goes back to a stage that changes its shape; or as :func:`.plan_checks.check_stages`.
    """
    starting_checkpoint(recipe, "teacher", space.teacher)
    folder = starting_checkpoint(recipe, "student", space.student).folder
    layers = shape_of_folder(folder).get("layers")
    if layers is None:
        raise ConfigError(
            f"[search] student: {folder / 'config.json'} does not say how many layers its model has"
        )
    deepest = max(space.depth)
    if deepest > layers:
        raise ConfigError(
            f"[search] depth has {deepest}, and {space.student!r}, which students are cut from, has {layers} layers"
        )
    if space.student == space.teacher and layers in space.depth and "activation" not in space.training:
        raise ConfigError(
            f"[search] depth has {layers}, all layers of {space.student!r}, and {space.student!r} is the teacher: that "
            "student would be its own teacher; leave this depth out, or cut students from the model that the teacher "
            "began as"
        )
    for candidate in space.candidates():
        check_stages(space.recipe_for(recipe, candidate, layers), task)
    return layers


def starting_checkpoint(recipe: Recipe, role: str, name: str) -> Start:
    """Follows a model back through the stages that train it.

    Args:
        recipe: with all paths.
        role: ``"teacher"`` or ``"student"``, for messages.
        name: of a stage or a model.

    Returns:
        The checkpoint that the model begins as, and what the stages give it.

    Raises:
        ConfigError: a stage on the way changes the model's shape, which times are of.
    """
    stages = {stage.name: stage for stage in recipe.stages}
    given: list[Mapping[str, Any]] = []
    while name in stages:
        stage = stages[name]
        if stage.kind not in ("train", "distill") or stage.options.arguments.keys() & {*SHAPING}:
            raise ConfigError(
                f"[search] {role} goes back to stage {name!r}, which changes the shape of its model: a search needs "
                "one that only trains"
            )
        given.append(stage.options.arguments)
        name = stage.inputs["student" if stage.kind == "distill" else "model"]
    folder = recipe.models[name]
    assert folder is not None
    start = Start(folder, None, None)
    for options in reversed(given):
        start = start.with_options(options)
    return start
