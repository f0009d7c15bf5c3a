# SPDX-License-Identifier: MIT
"""The kinds of stages a recipe has, as a table: what each reads, which options it takes and which function it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fastformers.config import CompileConfig, DistillConfig, Head, Int8Config, PruneConfig, TrainConfig
from fastformers.errors import ConfigError

if TYPE_CHECKING:
    from fastformers.tasks import Truncation

__all__ = ["KINDS", "SHAPING", "Context", "Kind", "Options"]


@dataclass(frozen=True)
class Options:
    """Options of a stage, checked.

    Attributes:
        config: of the technique.
        arguments: of the function besides.
        text: what the file says, as JSON values: names the options in a cache's key.
        seeded: the file names the seed itself.
    """

    config: Any
    arguments: Mapping[str, Any]
    text: Mapping[str, Any]
    seeded: bool


@dataclass(frozen=True)
class Context:
    """What a stage is run with.

    Attributes:
        inputs: role to folder.
        data: folder of the data.
        output: folder to make.
        logits: folder of teachers' logits, which all stages share.
        overwrite: replace what an earlier run left there.
        task: short name; empty for the user's own files.
        regression: own labels are numbers.
        max_length: tokens after which texts are cut; ``None`` where the recipe names no length: as a model that is
            taken up says, and 256 for others.
        truncation: as for :func:`fastformers.tasks.encode`; ``None`` likewise.
        seed: of the recipe.
        progress: show it.
    """

    inputs: Mapping[str, Path]
    data: Path
    output: Path
    logits: Path
    overwrite: bool
    task: str
    regression: bool
    max_length: int | None
    truncation: Truncation | None
    seed: int
    progress: bool


Runner = Callable[[Options, Context], Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        roles: names of the models it reads.
        config: dataclass of its options.
        arguments: further options with their types.
        run: does it, and returns a report as JSON values.
        nested: dataclasses whose options stand among the others, by the field of ``config`` that holds them.
        idle: options of those dataclasses that would change nothing in this stage, with the reason.
        instead_of: an argument that, when true, leaves a part of ``nested`` unused, by its name.
    """

    roles: tuple[str, ...]
    config: type[Any]
    arguments: Mapping[str, type]
    run: Runner
    nested: Mapping[str, type[Any]] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    instead_of: Mapping[str, str] = field(default_factory=dict)

    def parse(self, place: str, options: Mapping[str, Any]) -> Options:
        """Checks the options of a stage.

        Raises:
            ConfigError: one is unknown or refused, or would change nothing.
        """
        own = {each.name for each in fields(self.config)}
        inner = {name: {each.name for each in fields(kind)} for name, kind in self.nested.items()}
        values: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {name: {} for name in self.nested}
        arguments: dict[str, Any] = {}
        for name, value in options.items():
            if name in self.idle:
                raise ConfigError(f"{place}: {name} would change nothing: {self.idle[name]}")
            plain = tuple(value) if isinstance(value, list) else value
            home = next((part for part, names in inner.items() if name in names), None)
            if name in self.arguments:
                if not isinstance(value, self.arguments[name]):
                    raise ConfigError(
                        f"{place}: {name} is {value!r}, must be a {self.arguments[name].__name__}"
                    )
                _check_argument(place, name, value)
                arguments[name] = plain
            elif home is not None:
                parts[home][name] = plain
            elif name in own - self.nested.keys():
                values[name] = plain
            else:
                known = {*own, *self.arguments, *set().union(*inner.values())} - self.idle.keys()
                raise ConfigError(f"{place}: {_unknown(name, known)}")
        for name, part in self.instead_of.items():
            if arguments.get(name) and parts[part]:
                raise ConfigError(
                    f"{place}: {name} = true leaves nothing for {', '.join(parts[part])} to change"
                )
        for name, kind in self.nested.items():
            values[name] = _built(place, kind, parts[name])
        return Options(_built(place, self.config, values), arguments, dict(options), "seed" in options)


#: Further options whose values can be checked before anything runs: what fits, and how that is told.
_ARGUMENT_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "layers": (
        lambda value: (
            bool(value)
            and all(type(each) is int and each >= 0 for each in value)
            and list(value) == sorted(set(value))
        ),
        "a list of layers from 0, each once and in ascending order, like [0, 2, 4]",
    ),
    **dict.fromkeys(
        ("heads", "ffn", "hidden"), (lambda value: type(value) is int and value >= 1, "1 or more")
    ),
    "head": (lambda value: value in get_args(Head), " or ".join(map(repr, get_args(Head)))),
    "split": (lambda value: value in ("train", "val"), "'train' or 'val'"),
}


def _check_argument(place: str, name: str, value: Any) -> None:
    fits, allowed = _ARGUMENT_RULES.get(name, (lambda _: True, ""))
    if not fits(value):
        raise ConfigError(f"{place}: {name} is {value!r}, must be {allowed}")


def _unknown(name: str, known: set[str]) -> str:
    close = get_close_matches(name, sorted(known), n=3)
    hint = f"did you mean {', '.join(map(repr, close))}?" if close else f"options: {', '.join(sorted(known))}"
    return f"no option {name!r}; {hint}"


def _built(place: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _seeded(options: Options, context: Context) -> Any:
    """The stage's config, with the recipe's seed where the stage names none."""
    config = options.config
    if options.seeded:
        return config
    if hasattr(config, "train"):
        return replace(config, train=replace(config.train, seed=context.seed))
    return replace(config, seed=context.seed)


def _train(options: Options, context: Context) -> Mapping[str, Any]:
    from fastformers.recipes.training import train

    report = train(
        context.inputs["model"],
        context.data,
        context.output,
        task=context.task or None,
        regression=context.regression,
        config=_seeded(options, context),
        max_length=context.max_length,
        truncation=context.truncation,
        overwrite=context.overwrite,
        progress=context.progress,
        **options.arguments,
    )
    return report.to_dict()


def _distill(options: Options, context: Context) -> Mapping[str, Any]:
    from fastformers.recipes.distilling import distill_folders

    report = distill_folders(
        context.inputs["teacher"],
        context.inputs["student"],
        context.data,
        context.output,
        config=_seeded(options, context),
        max_length=_length_for(context.inputs["teacher"], context),
        cache_dir=context.logits,
        overwrite=context.overwrite,
        progress=context.progress,
        **options.arguments,
    )
    return report.to_dict()


def _length_for(teacher: Path, context: Context) -> int | None:
    """The length that students of a teacher are trained with: its own where it says one, which has been checked."""
    from fastformers.tasks import TASK_FILE

    return None if (teacher / TASK_FILE).exists() else context.max_length


def _prune(options: Options, context: Context) -> Mapping[str, Any]:
    from fastformers.recipes.pruning import prune_folder

    report = prune_folder(
        context.inputs["model"],
        context.output,
        context.data,
        _seeded(options, context),
        overwrite=context.overwrite,
        **options.arguments,
    )
    return report.to_dict()


def _quantize(options: Options, context: Context) -> Mapping[str, Any]:
    from fastformers.recipes.compile_folder import training_texts
    from fastformers.recipes.quantizing import quantize_folder
    from fastformers.tasks import custom_task, get_task

    task = get_task(context.task) if context.task else custom_task(context.data, context.regression)
    report = quantize_folder(
        context.inputs["model"],
        context.output,
        options.config,
        texts=training_texts(task, context.data),
        overwrite=context.overwrite,
    )
    return report.to_dict()


def _compile(options: Options, context: Context) -> Mapping[str, Any]:
    from fastformers.recipes.compile_folder import compile_folder

    float32 = options.arguments.get("float32", False)
    report = compile_folder(
        context.inputs["model"],
        context.output,
        replace(options.config, int8=None) if float32 else options.config,
        data_dir=None if float32 else context.data,
        overwrite=context.overwrite,
    )
    return {} if report is None else report.to_dict()


_LAYERS_NOT_TIMED = "it is for timing single torch layers, which a compiled encoder does not run"

#: Options of a distillation that give the student another shape than its checkpoint's.
SHAPING = ("layers", "heads", "ffn", "hidden")

KINDS: Mapping[str, Kind] = {
    "train": Kind(("model",), TrainConfig, {"activation": str, "head": str}, _train),
    "distill": Kind(
        ("teacher", "student"),
        DistillConfig,
        {
            "layers": list,
            "heads": int,
            "ffn": int,
            "hidden": int,
            "activation": str,
            "head": str,
            "unlabelled": str,
        },
        _distill,
        {"train": TrainConfig},
    ),
    "prune": Kind(("model",), PruneConfig, {"layers": list, "split": str}, _prune),
    "quantize": Kind(("model",), Int8Config, {}, _quantize),
    "compile": Kind(
        ("model",),
        CompileConfig,
        {"float32": bool},
        _compile,
        {"int8": Int8Config},
        idle={
            "threads": "they are those of whoever opens the encoder",
            "never_slower": _LAYERS_NOT_TIMED,
            "min_speedup": _LAYERS_NOT_TIMED,
        },
        instead_of={"float32": "int8"},
    ),
}
