# SPDX-License-Identifier: MIT
"""What stages ask of the models they start from, checked before the first one takes its hours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.strict_json import read_json
from fastformers.modules.config_names import HEADS, INTERMEDIATE, LAYERS, check_activation
from fastformers.recipes.recipe_plan import Plan, PlannedStage
from fastformers.recipes.recipe_stages import SHAPING

__all__ = ["check_stages"]

_FIELDS = {"layers": LAYERS, "heads": HEADS, "ffn": INTERMEDIATE}
_NAMES = {"heads": "heads", "ffn": "neurons"}
#: Options that make another student of a teacher's copy.
_CUTS = (*SHAPING, "activation")

#: Layers, heads and neurons of a layer, as far as they are known; after a global ranking the most there may be.
_Shape = Mapping[str, int]


def check_stages(plan: Plan) -> None:
    """Checks that stages keep what there is, and that transformers knows their activations.

    A model whose ``config.json`` does not say its size is left to the stage itself.

    Raises:
        ConfigError: a stage keeps a layer beyond the last one, or more heads or neurons than a layer has, names an
            activation that does not exist, or changes nothing; names the stage, and what there is.
    """
    shapes = {name: _shape_of_folder(path) for name, path in plan.recipe.models.items() if path is not None}
    for planned in plan.stages:
        stage = planned.stage
        _check_changes_something(planned)
        before = shapes.get(stage.inputs.get("student", stage.inputs.get("model", "")), {})
        activation = stage.options.arguments.get("activation")
        if activation is not None:
            check_activation(activation, f"stage {stage.name!r}: ")
        shapes[stage.name] = {**before, **_layers_kept(planned, before), **_units_kept(planned, before)}


def _check_changes_something(planned: PlannedStage) -> None:
    stage, given = planned.stage, planned.stage.options.arguments
    config: Any = stage.options.config
    if stage.kind == "prune" and not config.prunes and "layers" not in given:
        raise ConfigError(f"stage {stage.name!r}: nothing is to be pruned: give heads, ffn, macs or layers")
    if (
        stage.kind == "distill"
        and stage.inputs["student"] == stage.inputs["teacher"]
        and not given.keys() & {*_CUTS}
    ):
        raise ConfigError(
            f"stage {stage.name!r}: the student is its own teacher: give {', '.join(_CUTS[:-1])} or {_CUTS[-1]}, or "
            "another student"
        )


def _shape_of_folder(folder: Path) -> _Shape:
    try:
        config = read_json(folder / "config.json")
    except FormatError:
        return {}
    found = {
        field: next((config[name] for name in names if isinstance(config.get(name), int)), None)
        for field, names in _FIELDS.items()
    }
    return {field: value for field, value in found.items() if value is not None}


def _layers_kept(planned: PlannedStage, before: _Shape) -> _Shape:
    layers = planned.stage.options.arguments.get("layers")
    if layers is None:
        return {}
    if "layers" in before and max(layers) >= before["layers"]:
        raise ConfigError(
            f"stage {planned.stage.name!r}: layers is {list(layers)}, and the model it starts from has layers 0 to "
            f"{before['layers'] - 1}"
        )
    return {"layers": len(layers)}


def _units_kept(planned: PlannedStage, before: _Shape) -> _Shape:
    config: Any = planned.stage.options.config
    given: Mapping[str, Any] = planned.stage.options.arguments
    if planned.stage.kind == "prune":
        given = {"heads": config.heads, "ffn": config.ffn}
    kept = {}
    for field, name in _NAMES.items():
        wanted = given.get(field)
        if not isinstance(wanted, int):
            continue
        if wanted > before.get(field, wanted):
            raise ConfigError(
                f"stage {planned.stage.name!r}: {field} is {wanted}, and a layer of the model it starts from has "
                f"{before[field]} {name}"
            )
        if planned.stage.kind != "prune" or config.ranking == "layer":
            kept[field] = wanted
    return kept
