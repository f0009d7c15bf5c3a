# SPDX-License-Identifier: MIT
"""Which stages of a recipe have to run: each has a key made of all that its result depends on.

A stage's key covers its kind and options, the recipe's task with its labels, length and seed, the examples read from
the data, further texts that it names, and its inputs: keys of stages, digests of the files of given models; and the
processor where the stage measures on it what to do. A stage whose key is the one
noted when its folder was made is not run again; a change runs it and all that stands on it, and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers import kernels
from fastformers.errors import ConfigError, FormatError
from fastformers.files.digests import sha256_of, sha256_of_file
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes, read_json
from fastformers.recipes.distilling_data import TEST_SET, read_unlabelled
from fastformers.recipes.output_names import LEDGER
from fastformers.recipes.recipe_file import Recipe, Stage
from fastformers.tasks import Example, Task, custom_task, get_task, load_examples

__all__ = ["Ledger", "Plan", "PlannedStage", "digest_of", "digest_of_folder", "plan_recipe"]

#: Part of every key: raised when a stage gives another result for the same inputs.
_KEY_VERSION = 3
_BEFORE, _DIGEST = "before", "manifest"
_BEGUN, _STARTED, _SPENT = "begun", "started", "spent"
#: What is read of an entry, by type.
_ENTRY: Mapping[str, type | tuple[type, ...]] = {
    _BEFORE: dict,
    "metrics": dict,
    "answers": list,
    "seconds": (int, float),
    _STARTED: (int, float),
    _SPENT: (int, float),
}
#: It holds every stage's answer to every validation example, and a search makes dozens of stages.
_MOST_LEDGER_BYTES = 1 << 30


@dataclass(frozen=True)
class PlannedStage:
    """A stage and where its result goes.

    Attributes:
        stage: the stage.
        key: names everything that its result depends on.
        folder: of its result.
        inputs: role to folder.
        cached: the result is there.
        further: unlabelled examples that it learns from besides the training set.
    """

    stage: Stage
    key: str
    folder: Path
    inputs: Mapping[str, Path]
    cached: bool
    further: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A recipe with paths and keys.

    Attributes:
        recipe: the recipe, nothing missing.
        task: what is trained for.
        train: its training examples.
        val: its validation examples.
        stages: in order.
    """

    recipe: Recipe
    task: Task
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    stages: tuple[PlannedStage, ...]


class Ledger:
    """``stages.json`` of an output folder: what was made there, with its key and its figures.

    While a stage is made anew, what is known of the result that lies there is kept: that one is whole until the new one
    takes its place, and good again when the new run is given up.

    Args:
        folder: the output folder.

    Raises:
        FormatError: the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / LEDGER
        self._entries: dict[str, Any] = (
            read_json(self._file, _MOST_LEDGER_BYTES) if self._file.exists() else {}
        )
        for name, entry in self._entries.items():
            self._check(name, entry)

    def _check(self, name: str, entry: Any) -> None:
        wrong = name if not isinstance(entry, dict) else None
        if wrong is None:
            odd = (
                each for each, kind in _ENTRY.items() if each in entry and not isinstance(entry[each], kind)
            )
            wrong = next((f"{name}.{each}" for each in odd), None)
        if wrong is not None:
            raise FormatError(
                f"{self._file} is damaged: {wrong} is not what a run notes there; move the folder away, or choose "
                "another output folder, to run all stages anew"
            )

    def entry(self, name: str) -> dict[str, Any]:
        """Returns what was noted of a stage; empty when nothing was."""
        return dict(self._entries.get(name, {}))

    def result(self, name: str) -> dict[str, Any]:
        """Returns what was noted of the result that lies there now; empty when that is not known."""
        entry = self.entry(name)
        before = entry.get(_BEFORE, {})
        if "key" in entry or not before or before.get(_DIGEST) != self._digest(name):
            return {name: value for name, value in entry.items() if name != _BEFORE}
        return {name: value for name, value in before.items() if name != _DIGEST}

    def begin(self, name: str, key: str, work: Path) -> None:
        """Notes that a stage is being made with this key.

        Args:
            name: of the stage.
            key: of the stage.
            work: where the stage keeps checkpoints: those of an attempt with the same key are what it spent.
        """
        known = self.result(name)
        whole = "key" in known and (self._folder / name / MANIFEST).is_file()
        before = {_BEFORE: {**known, _DIGEST: self._digest(name)}} if whole else {}
        spent = self._spent(self.entry(name), key, work)
        self.note(name, {_BEGUN: key, _STARTED: time.time(), _SPENT: spent, **before})

    def begun(self, name: str) -> str | None:
        """Returns the key with which a stage was begun and not finished; ``None`` when there is none."""
        found = self.entry(name).get(_BEGUN)
        return found if isinstance(found, str) else None

    def spent(self, name: str) -> float:
        """Returns the seconds that attempts before this one put into what is gone on with."""
        return float(self.entry(name).get(_SPENT, 0.0))

    @staticmethod
    def _spent(entry: Mapping[str, Any], key: str, work: Path) -> float:
        """Seconds until the last checkpoint of attempts with this key: what came after it is lost, and done again."""
        if entry.get(_BEGUN) != key or not work.is_dir():
            return 0.0
        last = max(path.stat().st_mtime for path in (work, *work.rglob("*")))
        return float(entry.get(_SPENT, 0.0)) + max(0.0, last - float(entry.get(_STARTED, last)))

    def _digest(self, name: str) -> str | None:
        """Of the file that names all others of a result with their digests."""
        manifest = self._folder / name / MANIFEST
        return sha256_of_file(manifest) if manifest.is_file() else None

    def note(self, name: str, entry: Mapping[str, Any]) -> None:
        """Notes a stage, in one step."""
        self._entries[name] = dict(entry)
        replace_file(self._file, json_bytes(self._entries))


def plan_recipe(recipe: Recipe, output: Path) -> Plan:
    """Reads the data and finds out what has to run; writes nothing.

    Args:
        recipe: nothing missing, see :meth:`fastformers.recipes.recipe_file.Recipe.with_paths`.
        output: folder of all results; need not exist.

    Raises:
        ConfigError: the task has no training set.
        FormatError: the data is missing or malformed.
    """
    assert recipe.data is not None
    task = get_task(recipe.task) if recipe.task else custom_task(recipe.data, recipe.regression)
    if task.trains_as:
        raise ConfigError(
            f"{task.name} has no training set: make a recipe for {task.trains_as} and evaluate its model"
        )
    train, val = (tuple(load_examples(task, recipe.data, split)) for split in ("train", "val"))
    general = {
        "version": _KEY_VERSION,
        "task": recipe.task,
        "regression": recipe.regression,
        "max_length": recipe.max_length,
        "truncation": recipe.truncation,
        "named": sorted(recipe.named & {"max_length", "truncation"}),
        "labels": [task.name, list(task.labels)],
        "data": [digest_of(train), digest_of(val)],
    }
    ledger = Ledger(output)
    keys = {name: digest_of_folder(path) for name, path in recipe.models.items() if path is not None}
    folders = {name: path for name, path in recipe.models.items() if path is not None}
    planned = []
    for stage in recipe.stages:
        inputs = {role: keys[source] for role, source in stage.inputs.items()}
        further = _further_texts(stage, task, train, recipe.data)
        named = [digest_of(further)] if further else []
        measured = _measured_on(stage)
        said = _without_place(stage.options.text)
        key = digest_of([general, recipe.seed, stage.kind, said, inputs, *named, *measured])
        folder = output / stage.name
        cached = ledger.result(stage.name).get("key") == key and (folder / MANIFEST).is_file()
        sources = {role: folders[source] for role, source in stage.inputs.items()}
        planned.append(PlannedStage(stage, key, folder, sources, cached, further))
        keys[stage.name], folders[stage.name] = key, folder
    return Plan(recipe, task, train, val, tuple(planned))


def _without_place(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stage's options without the folder of a file of texts: it may move, and its content has a digest of its own."""
    texts = said.get("unlabelled", TEST_SET)
    return said if texts == TEST_SET else {**said, "unlabelled": Path(texts).name}


def _measured_on(stage: Stage) -> list[str]:
    """The processor and its kernels, where their times decide which layers a stage converts."""
    if stage.kind != "quantize" or not stage.options.config.never_slower:
        return []
    return [str(kernels.cpu_facts()["model"]), kernels.active_isa()]


def _further_texts(stage: Stage, task: Task, train: Sequence[Example], data: Path) -> tuple[Example, ...]:
    """The unlabelled texts that a stage names; none where it names none.

    Raises:
        ConfigError, FormatError: they cannot be read, or do not fit the task.
    """
    source = stage.options.arguments.get("unlabelled")
    if source is None:
        return ()
    return tuple(read_unlabelled(source, task, data, pairs=train[0].text_pair is not None))


def digest_of(value: Any) -> str:
    """Digest of a value that JSON can hold, or that its ``repr`` tells apart from others."""
    text = json.dumps(value, sort_keys=True, default=repr)
    return sha256_of(text.encode("utf-8"))


def digest_of_folder(folder: Path) -> str:
    """Digest of the files of a model folder, by name and content; what lies in folders below does not count."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return digest_of([[file.name, sha256_of_file(file)] for file in files])
