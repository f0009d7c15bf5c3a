# SPDX-License-Identifier: MIT
"""The models of a ladder: a teacher, students, pruned students, from folders or from a recipe's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.digests import sha256_of, sha256_of_file
from fastformers.files.strict_json import read_json
from fastformers.recipes.model_folder import OpenedModel, open_model
from fastformers.recipes.output_names import REPORT
from fastformers.recipes.recipe_plan import Ledger
from fastformers.runtime.artefact_folder import REPORT as CONVERSION
from fastformers.tasks import Example, Task, load_examples

__all__ = ["Noted", "SystemModel", "Systems", "folder_digest", "folder_systems", "recipe_systems"]

_TRAINED = ("train", "distill")
_HASHED = (".json", ".safetensors", ".txt")


@dataclass(frozen=True)
class Noted:
    """A score that a recipe found, with the answers by which it can be checked.

    Attributes:
        score: 0 to 100.
        answers: to its validation set.
    """

    score: float
    answers: tuple[int | float, ...]


@dataclass(frozen=True)
class SystemModel:
    """One model.

    Attributes:
        name: for rows and files.
        open: loads it as a torch model.
        identity: changes with its weights.
        folder: where it came from; ``None`` for one that is made up.
        compiled: folder of its compiled encoder; ``None`` where the ladder has to make it.
        noted: its score; ``None`` where it has to be found.
        compiled_noted: that of its compiled encoder.
    """

    name: str
    open: Callable[[], OpenedModel]
    identity: str
    folder: Path | None = None
    compiled: Path | None = None
    noted: Noted | None = None
    compiled_noted: Noted | None = None


@dataclass(frozen=True)
class Systems:
    """What a ladder climbs.

    Attributes:
        title: of the report.
        teacher: the model to begin with.
        students: smaller ones, in order; the last is compiled and pruned.
        pruned: pruned students, in order.
        examples: what is answered.
        task: of which they are; ``None`` for plain texts.
        trained: the weights mean something: rows get a score.
        data: folder of the task's data, whose training texts calibrate INT8 layers; ``None`` without.
        paper: cumulative speed-ups of the published rows, where the rows are those.
    """

    title: str
    teacher: SystemModel
    students: tuple[SystemModel, ...]
    pruned: tuple[SystemModel, ...]
    examples: tuple[Example, ...]
    task: Task | None
    trained: bool
    data: Path | None = None
    paper: tuple[float, ...] = field(default=())


def folder_systems(
    teacher: str | Path,
    students: Sequence[str | Path],
    pruned: Sequence[str | Path],
    data: str | Path,
    split: str = "val",
) -> Systems:
    """Takes models from folders that fastformers trained.

    Args:
        teacher: folder of the model to begin with.
        students: folders of smaller models.
        pruned: folders of pruned students.
        data: folder of the task's data.
        split: which part of it is answered.

    Raises:
        ConfigError: a folder holds no model, names no task, or another task than the teacher's.
        FormatError: the data is missing or malformed.
    """
    opened = open_model(teacher)
    task = opened.required_task().task
    for folder in (*students, *pruned):
        _check_task(Path(folder), task)
    return Systems(
        title=f"{task.name} ladder",
        teacher=_model(Path(teacher)),
        students=tuple(_model(Path(folder)) for folder in students),
        pruned=tuple(_model(Path(folder)) for folder in pruned),
        examples=_labelled(task, data, split),
        task=task,
        trained=True,
        data=Path(data),
    )


def recipe_systems(output: str | Path, data: str | Path) -> Systems:
    """Takes models from the output folder of a recipe that ran to its end.

    The first trained stage is the teacher. Distilled stages after it are students. Stages whose weights come out of a
    pruning stage and were distilled or trained again are pruned students; weights that were pruned and left so are,
    too. Other trained stages, and what is made of them, are no step of a ladder. A model's encoder is its first
    compiled stage with INT8 layers; without one the ladder compiles it.

    Args:
        output: the recipe's folder.
        data: folder of the data it ran on.

    Raises:
        ConfigError: the recipe did not run to its end, or a stage's folder is missing.
        FormatError: a file is damaged.
    """
    folder = Path(output)
    stages = _stages(folder)
    if not any(stage.kind == "train" for stage in stages):
        raise ConfigError(
            f"{folder}: no stage trained a teacher; name the folders with --teacher and --student"
        )
    teacher = next(stage for stage in stages if stage.kind == "train")
    later = stages[stages.index(teacher) + 1 :]
    students = [stage for stage in later if stage.kind == "distill" and not _is_pruned(stage, stages)]
    again = [stage for stage in later if stage.kind in _TRAINED and _is_pruned(stage, stages)]
    trained_again = {_origin(stage) for stage in again}
    left = [stage for stage in later if stage.kind == "prune" and stage.name not in trained_again]
    pruned = [stage for stage in later if stage in again or stage in left]
    encoders = [stage for stage in later if stage.kind == "compile" and _has_int8(folder / stage.name)]
    models = {
        stage.name: _stage_model(
            folder, stage, next((each for each in encoders if _origin(each) == stage.name), None)
        )
        for stage in (teacher, *students, *pruned)
    }
    task = open_model(folder / teacher.name).required_task().task
    return Systems(
        title=f"{task.name} ladder",
        teacher=models[teacher.name],
        students=tuple(models[stage.name] for stage in students),
        pruned=tuple(models[stage.name] for stage in pruned),
        examples=_labelled(task, data, "val"),
        task=task,
        trained=True,
        data=Path(data),
    )


@dataclass(frozen=True)
class _Stage:
    name: str
    kind: str
    inputs: Mapping[str, str]
    noted: Noted


def _stages(folder: Path) -> list[_Stage]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: it must be the output of `fastformers recipe run`")
    if not (folder / REPORT).is_file():
        raise ConfigError(
            f"{folder} holds no {REPORT}: the recipe has not run to its end; run it again, it goes on where it stopped"
        )
    ledger = Ledger(folder)
    stages = []
    for row in _rows(read_json(folder / REPORT), folder / REPORT):
        name = row["name"]
        entry = ledger.result(name)
        if not (folder / name).is_dir() or "answers" not in entry:
            raise ConfigError(
                f"{folder}: the stage {name!r} is missing; run the recipe again: it makes what is missing"
            )
        stages.append(_Stage(name, row["kind"], row["inputs"], Noted(row["score"], tuple(entry["answers"]))))
    return stages


def _rows(report: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    rows = report.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise FormatError(f"{path} has no rows")
    fields = (("name", str), ("kind", str), ("inputs", dict), ("score", (int, float)))
    for row in rows:
        for name, kind in fields:
            if not isinstance(row.get(name), kind):
                raise FormatError(
                    f"{path}: a row without {name}; run the recipe again: what is done stays, and the report is "
                    "written anew"
                )
    return rows


def _is_pruned(stage: _Stage, stages: Sequence[_Stage]) -> bool:
    """Whether a stage's weights come out of a pruning stage."""
    by_name = {each.name: each for each in stages}
    known: _Stage | None = stage
    while known is not None and known.kind != "prune":
        known = by_name.get(_origin(known))
    return known is not None


def _origin(stage: _Stage) -> str:
    """Name of the stage, or of the given model, that a stage's weights come from."""
    return stage.inputs.get("student", stage.inputs.get("model", ""))


def _has_int8(folder: Path) -> bool:
    """Whether an encoder that was compiled from float32 weights has INT8 layers: those come with a report."""
    return (folder / CONVERSION).is_file()


def _stage_model(folder: Path, stage: _Stage, compiled: _Stage | None) -> SystemModel:
    return _model(
        folder / stage.name,
        noted=stage.noted,
        compiled=None if compiled is None else folder / compiled.name,
        compiled_noted=None if compiled is None else compiled.noted,
    )


def _model(folder: Path, **fields: Any) -> SystemModel:
    return SystemModel(
        name=folder.name,
        open=lambda: open_model(folder),
        identity=folder_digest(folder),
        folder=folder,
        **fields,
    )


def _check_task(folder: Path, task: Task) -> None:
    from fastformers.tasks import TASK_FILE, TaskFile

    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: it must hold a model")
    if not (folder / TASK_FILE).is_file():
        raise ConfigError(f"{folder} holds no {TASK_FILE}: take a folder that fastformers trained")
    found = TaskFile.load(folder).task
    if (found.name, found.labels) != (task.name, task.labels):
        raise ConfigError(
            f"{folder} answers {found.name}, and the teacher {task.name}: all rows need one task"
        )


def _labelled(task: Task, data: str | Path, split: str) -> tuple[Example, ...]:
    examples = tuple(load_examples(task, data, split))
    if any(example.label is None for example in examples):
        raise ConfigError(
            f"the {split} set of {task.name} in {data} has no labels: no score can be found on it"
        )
    return examples


def folder_digest(folder: Path) -> str:
    """Returns what changes with a model's weights and how it is built.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: it must hold a model")
    files = sorted(path for path in folder.iterdir() if path.suffix in _HASHED and path.is_file())
    return sha256_of("".join(f"{file.name} {sha256_of_file(file)}\n" for file in files).encode("utf-8"))
