# SPDX-License-Identifier: MIT
"""What a ladder measures: models in folders, the rows made of them, and the texts that all rows answer."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers.benchmarking.demo_ways import Rung
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.files.strict_json import read_json
from fastformers.recipes.recipe_run import REPORT
from fastformers.tasks import TaskFile, load_examples

__all__ = ["Systems", "from_recipe", "instances_words", "read_pairs", "sampled"]

_MOST_REPORT_BYTES = 64 << 20
_TRAINED = ("train", "distill")


@dataclass(frozen=True)
class Systems:
    """Everything a ladder needs besides the machine.

    Attributes:
        title: of the report.
        rungs: the rows, slowest first.
        folders: stage -> folder of its model.
        scores: stage -> the task's score, 0 to 100; ``None`` where weights are random.
        metric: what the score is the mean of; empty without scores.
        texts: that are answered: strings, or pairs of them.
        labels: index of the right label of each text; ``None`` where they have none.
        texts_in_all: from which ``texts`` were drawn.
        max_tokens: after which every row cuts, and to which the first one pads.
        notes: what the reader must know.
    """

    title: str
    rungs: Sequence[Rung]
    folders: Mapping[str, Path]
    scores: Mapping[str, float | None]
    metric: str
    texts: Sequence[Any]
    labels: Sequence[int] | None
    texts_in_all: int
    max_tokens: int
    notes: tuple[str, ...] = ()


def instances_words(instances: int) -> str:
    """Returns "1 instance", "2 instances"."""
    return f"{instances} instance{'s'[: instances != 1]}"


def sampled(items: Sequence[Any], count: int | None, seed: int) -> list[Any]:
    """Draws a random sample without replacement, in the order given; all of them when there are no more."""
    if count is None or count >= len(items):
        return list(items)
    return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), count))]


def from_recipe(
    output: Path, data: Path, instances: int, sample: int | None = None, seed: int = 42
) -> Systems:
    """Makes the rows of a recipe's result: its first model padded and not, its students, its compiled models.

    Args:
        output: folder that ``fastformers recipe run`` made.
        data: the task's files; the validation set is answered.
        instances: of the rows under load.
        sample: texts to draw from the validation set; ``None`` for all.
        seed: of the sample.

    Raises:
        ConfigError: the recipe has not run to its end, compiled nothing, or its task is a regression.
        FormatError: a file is missing or damaged.
        UnsupportedModelError: the task marks spans in its texts.
    """
    if not (output / REPORT).is_file():
        raise ConfigError(f"{output} holds no {REPORT}: run the recipe to its end first")
    report = read_json(output / REPORT, _MOST_REPORT_BYTES)
    rows = report.get("rows")
    if not isinstance(rows, list) or not rows:
        raise FormatError(f"{output / REPORT} has no rows")
    stages = {row["name"]: row for row in rows}
    compiled = [name for name, row in stages.items() if row["kind"] == "compile"]
    if not compiled:
        raise ConfigError(f"the recipe of {output} compiles no model: add a stage of kind 'compile'")
    first = next(iter(stages))
    task_file = TaskFile.load(output / first)
    task = task_file.task
    if task.kind == "regression":
        raise ConfigError(f"{task.name} is a regression: a ladder compares classifiers")
    examples = load_examples(task, data, "val")
    if any(example.spans for example in examples):
        raise UnsupportedModelError(
            f"{task.name} marks spans in its texts, which a ladder does not measure yet"
        )
    chosen = sampled(examples, sample, seed)
    return Systems(
        title=f"{task.name}: {report.get('recipe', output.name)}",
        rungs=_rungs(stages, compiled, task_file.max_length, instances),
        folders={name: output / name for name in stages},
        scores={name: float(row["score"]) for name, row in stages.items()},
        metric=task.main_metric,
        texts=[e.text if e.text_pair is None else (e.text, e.text_pair) for e in chosen],
        labels=[int(example.label) for example in chosen],
        texts_in_all=len(examples),
        max_tokens=task_file.max_length,
        notes=("scores: of the whole validation set, as the recipe's report has them",),
    )


def _rungs(
    stages: Mapping[str, Mapping[str, Any]], compiled: Sequence[str], max_tokens: int, instances: int
) -> list[Rung]:
    names = list(stages)
    first = names[0]
    before_pruning = next(
        (at for at, name in enumerate(names) if stages[name]["kind"] == "prune"), len(names)
    )
    students = [n for n in names[1:before_pruning] if stages[n]["kind"] in _TRAINED]
    several = instances_words(instances)
    return [
        Rung(
            f"{first}, padded",
            f"PyTorch float32, every text filled up to {max_tokens} tokens",
            first,
            "padded",
        ),
        Rung("dynamic length", "the same model computes only the tokens that a text has", first, "torch"),
        *(Rung(name, "another model, in PyTorch float32", name, "torch") for name in students),
        Rung(f"{compiled[0]}, engine", "the whole encoder in one native call, INT8", compiled[0], "engine"),
        *(
            Rung(f"{name}, {several}", "under load: all texts handed in at once", name, "instances")
            for name in compiled
        ),
    ]


def read_pairs(path: Path) -> list[Any]:
    """Reads texts, or pairs of texts, that have no labels.

    Args:
        path: ``.jsonl`` with ``passage`` and ``question`` (BoolQ's form), or ``text`` and perhaps ``text_pair``; or
            plain text, one a line.

    Raises:
        FormatError: a line is malformed; names it.
        ConfigError: there is no text.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is no file: name one with a text a line, or .jsonl")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ConfigError(f"{path} holds no text")
    if path.suffix != ".jsonl":
        return lines
    return [_pair(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _pair(line: str, place: str) -> Any:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{place}: not JSON: {error}") from error
    for first, second in (("passage", "question"), ("text", "text_pair")):
        if isinstance(value, dict) and isinstance(value.get(first), str):
            other = value.get(second)
            return (value[first], other) if isinstance(other, str) else value[first]
    raise FormatError(f'{place}: expected "passage" and "question", or "text" and perhaps "text_pair"')
