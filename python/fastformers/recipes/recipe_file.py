# SPDX-License-Identifier: MIT
"""Recipes as files: which stages turn a pretrained encoder into a cheap one, in TOML, checked before anything runs.

[recipe]
task = "rte"                # leave out for train.csv|jsonl and val.csv|jsonl with text, text_pair, label
data = "superglue"          # relative to this file, or "hub"; empty or left out: to be given when the recipe is run
max_length = 256
seed = 42

[models]
small = "path/to/minilm"    # relative to this file; empty: to be given when the recipe is run

[[stage]]
name = "teacher"
kind = "train"
model = "small"             # an earlier stage, or one of [models]
epochs = 4

[[stage]]
name = "student"
kind = "distill"
teacher = "teacher"
student = "teacher"
layers = [0, 2, 4]
unlabelled = "test"         # further texts: the task's test set, its labels unseen; or a file, relative to this one

[search]                    # optional, see recipe_search.py
depth = [6, 3]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.plain_file import read_plain_file
from fastformers.recipes.distilling_data import TEST_SET
from fastformers.recipes.output_names import FILES, WORK_SUFFIX
from fastformers.recipes.recipe_stages import KINDS, Options
from fastformers.tasks.encoding import TRUNCATIONS
from fastformers.tasks.hub import HUB

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from fastformers.tasks import Truncation

__all__ = ["Recipe", "Stage", "parse_recipe", "read_recipe", "read_toml"]

_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_TABLES = ("recipe", "models", "stage", "search")
_RECIPE_FIELDS: dict[str, type] = {
    "task": str,
    "regression": bool,
    "data": str,
    "max_length": int,
    "truncation": str,
    "seed": int,
}
_RANGES = {"max_length": range(3, (1 << 20) + 1), "seed": range(1 << 32)}


@dataclass(frozen=True)
class Stage:
    """One step of a recipe.

    Attributes:
        name: also the name of its folder.
        kind: key of :data:`fastformers.recipes.recipe_stages.KINDS`.
        inputs: role, e.g. ``"teacher"``, to the name of an earlier stage or of a model.
        options: what else the file says, checked.
    """

    name: str
    kind: str
    inputs: Mapping[str, str]
    options: Options


@dataclass(frozen=True)
class Recipe:
    """A recipe whose every field has been checked.

    Attributes:
        stages: in the order they run.
        models: name to folder, for checkpoints that no stage makes; ``None`` where the caller must give one.
        task: short name of a task; empty for the user's own files.
        data: folder of the data; ``None`` where the caller must give one.
        regression: own labels are numbers.
        max_length: tokens after which texts are cut.
        truncation: as :func:`fastformers.tasks.encode` takes it.
        seed: of every stage that does not name its own.
        search: the ``[search]`` table as it stands.
        named: fields of ``[recipe]`` that the file gives; the others have their defaults.
    """

    stages: tuple[Stage, ...]
    models: Mapping[str, Path | None]
    task: str = ""
    data: Path | None = None
    regression: bool = False
    max_length: int = 256
    truncation: Truncation = "keep_question"
    seed: int = 42
    search: Mapping[str, Any] = field(default_factory=dict)
    named: frozenset[str] = frozenset()

    def with_paths(self, data: Path | None, models: Mapping[str, Path]) -> Recipe:
        """Puts in what the caller gave, and checks that nothing is missing.

        Raises:
            ConfigError: a model or the data is missing, or a name is none of the recipe's.
        """
        unknown = sorted(models.keys() - self.models.keys())
        if unknown:
            raise ConfigError(
                f"the recipe has no model {unknown[0]!r}; it has: {', '.join(self.models) or 'none'}"
            )
        found = {**self.models, **models}
        for name, path in found.items():
            if path is None:
                raise ConfigError(
                    f"the recipe needs a folder for the model {name!r}: give --model {name}=DIR"
                )
            if not path.is_dir():
                raise ConfigError(f"the model {name!r} is to be in {path}, which is not a folder")
        chosen = self.data if data is None else data
        if chosen is None:
            raise ConfigError("the recipe does not say where the data is: give --data DIR")
        return replace(self, models=found, data=chosen)


def read_recipe(path: str | Path) -> Recipe:
    """Reads a recipe.

    Args:
        path: the TOML file; folders in it are relative to it.

    Raises:
        FormatError: it is missing or no TOML.
        ConfigError: a table, a field or a value is refused; says which and what is allowed.

    Example:
        >>> read_recipe("recipe.toml").stages[0].kind  # doctest: +SKIP
        'train'
    """
    file = Path(path)
    content = read_toml(file)
    return parse_recipe(content, file.parent)


def read_toml(file: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        FormatError: it is missing, too large, nested too deep or no TOML.
    """
    raw = read_plain_file(file, _MOST_BYTES)
    try:
        content: dict[str, Any] = tomllib.loads(raw.decode("utf-8-sig"))  # some editors write its mark
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{file} is not TOML: {error}") from error
    except RecursionError as error:
        raise FormatError(f"{file} is nested too deep: a recipe has tables of values and lists") from error
    return content


def parse_recipe(content: Mapping[str, Any], folder: Path) -> Recipe:
    """Checks the content of a recipe.

    Args:
        content: tables as TOML gives them.
        folder: what relative paths are relative to.

    Raises:
        ConfigError: as :func:`read_recipe`.
    """
    _check_known("the recipe", content, _TABLES)
    general = _table(content, "recipe")
    _check_known("[recipe]", general, tuple(_RECIPE_FIELDS))
    for name, value in general.items():
        _check_type(f"[recipe] {name}", value, _RECIPE_FIELDS[name])
        if name in _RANGES and value not in _RANGES[name]:
            raise ConfigError(
                f"[recipe] {name} is {value}; allowed: {_RANGES[name][0]} to {_RANGES[name][-1]}"
            )
    if general.get("truncation", TRUNCATIONS[0]) not in TRUNCATIONS:
        raise ConfigError(
            f"[recipe] truncation is {general['truncation']!r}; allowed: {', '.join(TRUNCATIONS)}"
        )
    if general.get("task") and general.get("regression"):
        raise ConfigError(
            f"[recipe] regression is for your own files; {general['task']} has its own kind of labels: leave one out"
        )
    models = {
        name: _folder(f"[models] {name}", value, folder) for name, value in _table(content, "models").items()
    }
    data = _data(general["data"], folder) if "data" in general else None
    rest = {name: value for name, value in general.items() if name != "data"}
    return Recipe(
        _stages(content.get("stage"), models, folder),
        models,
        data=data,
        search=_located_texts(_table(content, "search"), folder),
        named=frozenset(general),
        **rest,
    )


def _stages(tables: Any, models: Mapping[str, Path | None], folder: Path) -> tuple[Stage, ...]:
    if not isinstance(tables, list) or not tables:
        raise ConfigError("the recipe has no [[stage]]: one or more are needed")
    stages: list[Stage] = []
    for number, table in enumerate(tables, start=1):
        if not isinstance(table, Mapping):
            raise ConfigError(
                f"stage {number} is {table!r}, must be a table: write [[stage]] above its fields"
            )
        known = [*models, *(stage.name for stage in stages)]
        stages.append(_stage(f"stage {number}", table, known, folder))
    return tuple(stages)


def _stage(place: str, table: Mapping[str, Any], known: list[str], folder: Path) -> Stage:
    options = dict(table)
    name, kind_name = (_text(place, options, key) for key in ("name", "kind"))
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: name is {name!r}; letters, digits, '.', '_' and '-' make a name")
    # Whatever the file system makes of capitals.
    if name.casefold() in FILES or name.casefold().endswith(WORK_SUFFIX):
        raise ConfigError(
            f"{place}: name is {name!r}, and a run writes a file or a folder of its own there; reserved are: "
            f"{', '.join(FILES)} and names that end in {WORK_SUFFIX}"
        )
    if name in known:
        raise ConfigError(f"{place}: the name {name!r} is taken by an earlier stage or a model")
    if kind_name not in KINDS:
        raise ConfigError(f"{place}: kind is {kind_name!r}; allowed: {', '.join(KINDS)}")
    kind = KINDS[kind_name]
    inputs = {role: _text(f"stage {name!r}", options, role) for role in kind.roles}
    for role, source in inputs.items():
        if source not in known:
            hint = f"earlier stages and models are: {', '.join(known) or 'none'}"
            raise ConfigError(f"stage {name!r}: {role} is {source!r}, which is nothing known yet; {hint}")
    return Stage(name, kind_name, inputs, _located(kind.parse(f"stage {name!r}", options), folder))


def _located(options: Options, folder: Path) -> Options:
    return replace(options, arguments=_located_texts(options.arguments, folder))


def _located_texts(arguments: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The arguments with a file of texts found from the recipe's folder."""
    texts = arguments.get("unlabelled", TEST_SET)
    if texts == TEST_SET or not isinstance(texts, str):
        return arguments
    return {**arguments, "unlabelled": str(folder / texts)}


def _text(place: str, options: dict[str, Any], key: str) -> str:
    value = options.pop(key, None)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{place}: {key} is {value!r}, must be a name")
    return value


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"[{name}] is {value!r}, must be a table")
    return value


def _folder(place: str, value: Any, folder: Path) -> Path | None:
    _check_type(place, value, str)
    return folder / value if value else None


def _data(value: Any, folder: Path) -> Path | None:
    """A folder, or the hub, which is beside no recipe."""
    found = _folder("[recipe] data", value, folder)
    return HUB if found == folder / HUB and not found.is_dir() else found


def _check_type(place: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{place} is {value!r}, must be of type {kind.__name__}")


def _check_known(place: str, content: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in content:
        if name not in known:
            close = get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"{place} has no field {name!r}; {hint}")
