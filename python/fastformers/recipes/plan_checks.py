# SPDX-License-Identifier: MIT
"""What stages ask of the models they start from, checked before the first one takes its hours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastformers.config import Int8Config
from fastformers.errors import ConfigError, FormatError
from fastformers.files.fields import MANIFEST
from fastformers.files.strict_json import read_json
from fastformers.modules.config_names import HEADS, HIDDEN, INTERMEDIATE, LAYERS, check_activation
from fastformers.recipes.given_models import Form, check_given_models, form_of_folder
from fastformers.recipes.recipe_file import Recipe, Stage
from fastformers.recipes.recipe_stages import SHAPING
from fastformers.tasks import Task
from fastformers.tasks.building import check_head_of_task

__all__ = ["check_stages", "shape_of_folder"]

_FIELDS = {"layers": LAYERS, "heads": HEADS, "hidden": HIDDEN, "ffn": INTERMEDIATE}
_NAMES = {"heads": "heads", "ffn": "neurons"}
#: Options that make another student of a teacher's copy.
_CUTS = (*SHAPING, "activation")
#: The model that a stage of a kind changes, and what is done to it.
_CHANGES = {
    "train": ("model", "trained"),
    "distill": ("student", "trained"),
    "prune": ("model", "pruned"),
    "quantize": ("model", "quantized"),
    "compile": ("model", "compiled"),
}
_MADE: Mapping[str, Form] = {"quantize": "int8", "compile": "compiled"}

#: Layers, heads and neurons of a layer, the width and that of a head, as far as they are known; after a global ranking
#: the most there may be.
Shape = Mapping[str, int]


def check_stages(recipe: Recipe, task: Task) -> None:
    """Checks that stages keep what there is, start from models that they can work on, and are of one task.

    A model whose ``config.json`` does not say its size is left to the stage itself.

    Args:
        recipe: with all paths.
        task: what its data is of.

    Raises:
        ConfigError: a stage keeps a layer beyond the last one, or more heads or neurons than a layer has, narrows a
            model to what its heads do not fill, names an activation that does not exist, changes nothing,
            puts another head on a model that has one, or starts
            from an INT8 or compiled model that it cannot change; or a given model answers another task. Names the
            stage, and what there is.
        FormatError: a given model's ``task.json`` is damaged.
    """
    given = {name: path for name, path in recipe.models.items() if path is not None}
    shapes = {name: shape_of_folder(path) for name, path in given.items()}
    forms = {name: form_of_folder(path) for name, path in given.items()}
    check_given_models(recipe, task)
    for stage in recipe.stages:
        _check_changes_something(stage)
        _check_form(stage, forms)
        _check_head(stage, given, task)
        before = shapes.get(stage.inputs.get("student", stage.inputs.get("model", "")), {})
        activation = stage.options.arguments.get("activation")
        if activation is not None:
            check_activation(activation, f"stage {stage.name!r}: ")
        shapes[stage.name] = {
            **before,
            **_layers_kept(stage, before),
            **_units_kept(stage, before),
            **_width_kept(stage, before),
        }
        forms[stage.name] = _MADE.get(stage.kind, "float")


def _check_changes_something(stage: Stage) -> None:
    given, config = stage.options.arguments, stage.options.config
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


def _check_head(stage: Stage, given: Mapping[str, Path], task: Task) -> None:
    """A head of ours goes on a checkpoint that has none yet."""
    head = stage.options.arguments.get("head")
    if head is None:
        return
    name = stage.inputs["student" if stage.kind == "distill" else "model"]
    if name not in given or (given[name] / MANIFEST).is_file():
        raise ConfigError(
            f"stage {stage.name!r}: head is {head!r}, and {name!r} is trained for its task already and keeps its head: "
            "leave it out"
        )
    check_head_of_task(head, task, f"stage {stage.name!r}: ")


def _check_form(stage: Stage, forms: Mapping[str, Form]) -> None:
    role, done = _CHANGES[stage.kind]
    name = stage.inputs[role]
    place, form = f"stage {stage.name!r}: {role} is {name!r}", forms[name]
    if form == "compiled":
        raise ConfigError(f"{place}, which is compiled and cannot be {done}: take the model it was made of")
    if form == "float" or stage.kind == "quantize":
        return
    if stage.kind != "compile":
        raise ConfigError(
            f"{place}, whose layers are INT8 and cannot be {done}: take the model it was made of"
        )
    if stage.options.arguments.get("float32"):
        raise ConfigError(
            f"{place}, whose layers are INT8: float32 = true does not bring them back; take the model it was made of"
        )
    if stage.options.config.int8 != Int8Config():
        idle = sorted(stage.options.text.keys() & vars(Int8Config()).keys())
        raise ConfigError(
            f"{place}, whose layers are INT8 and stay as they are: {', '.join(idle)} would change nothing; set it "
            "where they are quantized, or take the model it was made of"
        )


def shape_of_folder(folder: Path) -> Shape:
    """Returns what a model's ``config.json`` says of its size; empty where it cannot be read."""
    try:
        config = read_json(folder / "config.json")
    except FormatError:
        return {}
    found = {
        field: next((config[name] for name in names if isinstance(config.get(name), int)), None)
        for field, names in _FIELDS.items()
    }
    shape = {field: value for field, value in found.items() if value is not None}
    if shape.get("heads") and shape.get("hidden", 0) % shape["heads"] == 0:
        shape["head_size"] = shape.get("hidden", 0) // shape["heads"]
    return shape


def _layers_kept(stage: Stage, before: Shape) -> Shape:
    layers = stage.options.arguments.get("layers")
    if layers is None:
        return {}
    if "layers" in before and max(layers) >= before["layers"]:
        raise ConfigError(
            f"stage {stage.name!r}: layers is {list(layers)}, and the model it starts from has layers 0 to "
            f"{before['layers'] - 1}"
        )
    return {"layers": len(layers)}


def _units_kept(stage: Stage, before: Shape) -> Shape:
    config: Any = stage.options.config
    given: Mapping[str, Any] = stage.options.arguments
    if stage.kind == "prune":
        given = {"heads": config.heads, "ffn": config.ffn}
    kept = {}
    for field, name in _NAMES.items():
        wanted = given.get(field)
        if not isinstance(wanted, int):
            continue
        if wanted > before.get(field, wanted):
            raise ConfigError(
                f"stage {stage.name!r}: {field} is {wanted}, and a layer of the model it starts from has "
                f"{before[field]} {name}"
            )
        if stage.kind != "prune" or config.ranking == "layer":
            kept[field] = wanted
    return kept


def _width_kept(stage: Stage, before: Shape) -> Shape:
    hidden = stage.options.arguments.get("hidden")
    if hidden is None:
        return {}
    if hidden > before.get("hidden", hidden):
        raise ConfigError(
            f"stage {stage.name!r}: hidden is {hidden}, and the model it starts from is {before['hidden']} wide"
        )
    head = before.get("head_size", 0)
    if hidden == before.get("hidden") or not head:
        return {"hidden": hidden}
    if hidden % head:
        raise ConfigError(
            f"stage {stage.name!r}: hidden is {hidden}, must be a multiple of {head}, the width of a head of the model "
            "it starts from"
        )
    heads = stage.options.arguments.get("heads") or min(hidden // head, before["heads"])
    return {"hidden": hidden, "heads": heads}
