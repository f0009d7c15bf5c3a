# SPDX-License-Identifier: MIT
"""The official data through ``datasets``, where that extra is installed and a hub can be reached.

A hub's rows differ from the official files in names and in labels, which are numbers there. They are turned back into
official rows, so that templates, checks and label orders are the readers' own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastformers._optional import require
from fastformers.errors import ConfigError
from fastformers.files.rows import Row
from fastformers.tasks.example import Example
from fastformers.tasks.task import Split, Task

__all__ = ["HUB", "is_hub", "load_hub_examples"]

_LOG = logging.getLogger(__name__)

HUB = Path("hub")

_SUPERGLUE, _GLUE = "aps/super_glue", "nyu-mll/glue"
_FALSE_TRUE = (False, True)
_ENTAILMENT = ("entailment", "not_entailment")
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_MNLI_SPLITS = {
    "train": "train",
    "val": "validation_matched",
    "val_mismatched": "validation_mismatched",
    "test": "test_matched",
    "test_mismatched": "test_mismatched",
}


@dataclass(frozen=True)
class _Source:
    """Where a task lies on the hub, and what its fields are called there.

    Attributes:
        path: data set.
        config: its configuration.
        labels: official labels by the hub's number; empty for numbers to predict.
        names: hub's field to official field, where they differ.
        convert: further changes of a row.
        splits: our split to the hub's.
    """

    path: str
    config: str
    labels: tuple[Any, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    convert: Callable[[Row], dict[str, Any]] = lambda row: dict(row.values)
    splits: Mapping[str, str] = field(default_factory=lambda: _SPLITS)


def is_hub(data_dir: str | Path) -> bool:
    """Whether this stands for the hub: the word ``hub``, where no folder has that name."""
    return Path(data_dir) == HUB and not HUB.is_dir()


def load_hub_examples(task: Task, split: Split) -> list[Example]:
    """Loads a split from the hub, as :func:`fastformers.tasks.load_examples` does from a folder.

    Args:
        task: an official task.
        split: as for :func:`fastformers.tasks.load_examples`.

    Returns:
        The examples, in the hub's order.

    Raises:
        ConfigError: the task is not on the hub, has no such split, or the hub cannot be reached.
        FormatError: a row is not what it was when this was written; names it.
        MissingExtraError: ``datasets`` is not installed.

    Example:
        >>> load_hub_examples(get_task("rte"), "val")  # doctest: +SKIP
    """
    source = _SOURCES.get(task.name)
    if source is None or split not in source.splits:
        raise ConfigError(
            f"the hub has no {split!r} set of {task.name}: give the folder of its files instead"
        )
    datasets = require("datasets", "hub", "reading tasks from a hub")
    name = f"{source.path} {source.config} {source.splits[split]}"
    try:
        rows = datasets.load_dataset(source.path, source.config, split=source.splits[split])
    except (
        OSError,
        ValueError,
    ) as error:  # ConnectionError, an OSError, without a network; ValueError offline
        raise ConfigError(
            f"{name} cannot be loaded: {error}; download the official files and give their folder instead"
        ) from error
    examples: list[Example] = []
    broken: list[int] = []
    for number, values in enumerate(rows, start=1):
        if task.files.skip_broken and not split.startswith("test") and "" in values.values():
            broken.append(number)
            continue
        examples.extend(task.reader(_official(source, Row(values, f"{name} row {number}")), task, split))
    if broken:
        _LOG.warning(
            "%s: left out %d rows with an empty text, the first at row %d", name, len(broken), broken[0]
        )
    return examples


def _official(source: _Source, row: Row) -> Row:
    """A row as the official file has it."""
    values = source.convert(row)
    number = values.get("label")
    if source.labels and isinstance(number, int):
        if not -1 <= number < len(source.labels):
            raise row.error(f"the label {number} is none of the hub's, 0 to {len(source.labels) - 1}")
        values["label"] = source.labels[number] if number >= 0 else None
    named = {source.names.get(name, name): value for name, value in values.items()}
    return Row({name: value for name, value in named.items() if value is not None}, row.place)


def _score_as_text(row: Row) -> dict[str, Any]:
    """GLUE's tables hold texts only."""
    return {name: str(value) if name == "label" else value for name, value in row.values.items()}


def _multirc(row: Row) -> dict[str, Any]:
    numbers = row.object("idx")
    answer = {"text": row.field("answer", str), "idx": numbers.number("answer")}
    label = row.number("label")
    if label >= 0:
        answer["label"] = label
    question = {"question": row.text("question"), "idx": numbers.number("question"), "answers": [answer]}
    return {
        "idx": numbers.number("paragraph"),
        "passage": {"text": row.text("paragraph"), "questions": [question]},
    }


def _record(row: Row) -> dict[str, Any]:
    """The hub's spans end after their last character, the official ones at it."""
    numbers, spans = row.object("idx"), row.object("entity_spans")
    entities = [
        {"start": start, "end": end - 1}
        for start, end in zip(spans.field("start", list), spans.field("end", list), strict=True)
    ]
    question: dict[str, Any] = {"query": row.text("query"), "idx": numbers.number("query")}
    answers = row.field("answers", list)
    if answers:
        question["answers"] = [{"text": answer} for answer in answers]
    passage = {"text": row.text("passage"), "entities": entities}
    return {"idx": numbers.number("passage"), "passage": passage, "qas": [question]}


def _wsc(row: Row) -> dict[str, Any]:
    marks = ("span1_index", "span1_text", "span2_index", "span2_text")
    target = {name: row.values[name] for name in marks if name in row.values}
    return {**row.values, "target": target}


def _glue(config: str, labels: tuple[str, ...], **names: str) -> _Source:
    return _Source(_GLUE, config, labels, {"idx": "index", **names})


_SOURCES: dict[str, _Source] = {
    "boolq": _Source(_SUPERGLUE, "boolq", _FALSE_TRUE),
    "cb": _Source(_SUPERGLUE, "cb", ("entailment", "contradiction", "neutral")),
    "copa": _Source(_SUPERGLUE, "copa", (0, 1)),
    "copa-choices": _Source(_SUPERGLUE, "copa", (0, 1)),
    "multirc": _Source(_SUPERGLUE, "multirc", convert=_multirc),
    "record": _Source(_SUPERGLUE, "record", convert=_record),
    "rte": _Source(_SUPERGLUE, "rte", _ENTAILMENT),
    "wic": _Source(_SUPERGLUE, "wic", _FALSE_TRUE),
    "wsc": _Source(_SUPERGLUE, "wsc.fixed", _FALSE_TRUE, convert=_wsc),
    "axb": _Source(_SUPERGLUE, "axb", _ENTAILMENT, splits={"test": "test"}),
    "axg": _Source(_SUPERGLUE, "axg", _ENTAILMENT, splits={"test": "test"}),
    "sst2": _glue("sst2", ("0", "1")),
    "mrpc": _glue("mrpc", ("0", "1"), sentence1="#1 String", sentence2="#2 String", label="Quality"),
    "cola": _glue("cola", ("0", "1")),
    "qnli": _glue("qnli", _ENTAILMENT),
    "rte-glue": _glue("rte", _ENTAILMENT),
    "stsb": _Source(_GLUE, "stsb", (), {"idx": "index", "label": "score"}, _score_as_text),
    "qqp": _glue("qqp", ("0", "1"), label="is_duplicate"),
    "mnli": _Source(
        _GLUE,
        "mnli",
        ("entailment", "neutral", "contradiction"),
        {"idx": "index", "premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
        splits=_MNLI_SPLITS,
    ),
}
