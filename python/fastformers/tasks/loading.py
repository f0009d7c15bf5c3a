# SPDX-License-Identifier: MIT
"""Reads a task's examples from a folder with its official files, or with a user's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.rows import Row, json_rows, tab_rows
from fastformers.tasks.custom import CUSTOM, custom_rows
from fastformers.tasks.example import Example
from fastformers.tasks.hub import is_hub, load_hub_examples
from fastformers.tasks.task import Split, Task

__all__ = ["check_head", "check_second_texts", "have_pairs", "load_examples"]

_LOG = logging.getLogger(__name__)


def load_examples(task: Task, data_dir: str | Path, split: Split, *, labelled: bool = True) -> list[Example]:
    """Reads the examples of one split, in the order of the file.

    Args:
        task: from :func:`fastformers.tasks.get_task` or :func:`fastformers.tasks.custom_task`.
        data_dir: the folder of the task's files, or one that holds it under its official name, e.g. ``BoolQ``;
            or ``"hub"``: the official data through ``datasets``, see :func:`fastformers.tasks.load_hub_examples`.
        split: ``"train"``, ``"val"`` or ``"test"``; MNLI also has ``"val_mismatched"`` and ``"test_mismatched"``.
        labelled: ``False`` does not look at the labels of a test set, which may be placeholders; no example has one.

    Returns:
        The examples; at least one.

    Raises:
        ConfigError: the task has no such split, or the hub cannot be reached.
        FormatError: a file is missing, empty or malformed, or numbers two rows alike; names file and line.
        MissingExtraError: the hub is asked for and ``datasets`` is not installed.

    Example:
        >>> load_examples(get_task("rte"), "superglue", "val")  # doctest: +SKIP
    """
    if split not in task.files.names:
        raise ConfigError(f"{task.name} has no split {split!r}; it has: {', '.join(task.files.names)}")
    if is_hub(data_dir):
        examples = load_hub_examples(task, split)
    else:
        examples = _from_files(task, Path(data_dir), split, labelled)
    _check_names(task, split, data_dir, examples)
    return examples if labelled else [replace(example, label=None) for example in examples]


def check_second_texts(train: Sequence[Example], others: Sequence[Example], split: Split) -> None:
    """Checks that the training set and another one both have second texts, or neither.

    Otherwise half of what one of them says would not be learned, or not be read.

    Raises:
        ConfigError: one of them has, the other one has none.
    """
    ours, theirs = have_pairs(train), have_pairs(others)
    if None not in (ours, theirs) and ours != theirs:
        one, other = ("train", split) if ours else (split, "train")
        raise ConfigError(f"the {one} set has pairs of texts and the {other} set none: give both text_pair")


def check_head(head: str | None, examples: Sequence[Example], place: str = "") -> None:
    """Refuses a head that compares the two texts of a pair where an example has one.

    Args:
        head: as for :func:`fastformers.tasks.build_model`.
        examples: to be learned from.
        place: what stands before the message.

    Raises:
        ConfigError: names the example.
    """
    single = next((example for example in examples if example.text_pair is None), None)
    if head is not None and single is not None:
        raise ConfigError(
            f"{place}head is {head!r}, which compares the two texts of a pair, and example {single.guid} has one: "
            "leave it out"
        )


def have_pairs(examples: Sequence[Example]) -> bool | None:
    """Whether examples have second texts: all of them, none, or (``None``) some."""
    found = {example.text_pair is not None for example in examples}
    return found.pop() if len(found) == 1 else None


def _from_files(task: Task, folder: Path, split: Split, labelled: bool) -> list[Example]:
    if not folder.is_dir():
        raise FormatError(f"{folder} is not a folder: it must hold the files of {task.name}")
    rows = custom_rows(folder, split) if task.name == CUSTOM else _official_rows(task, folder, split)
    if not labelled:
        rows = (_without_labels(row) for row in rows)
    examples = [example for row in rows for example in task.reader(row, task, split)]
    if not examples:
        raise FormatError(f"the {split} set of {task.name} in {folder} holds no examples")
    return examples


def _check_names(task: Task, split: Split, data_dir: str | Path, examples: list[Example]) -> None:
    """Refuses two examples of one name: metrics and submissions would take them for one."""
    seen: set[str] = set()
    for example in examples:
        if example.guid in seen:
            raise FormatError(
                f"the {split} set of {task.name} in {data_dir} has two rows numbered {example.guid} (idx): each needs "
                "a number of its own, as answers are counted and written by it"
            )
        seen.add(example.guid)


def _without_labels(row: Row) -> Row:
    return Row(_unlabelled(row.values), row.place)


def _unlabelled(value: Any) -> Any:
    """What a row says besides labels, at any depth; ReCoRD's labels are the answers to its queries."""
    if isinstance(value, list):
        return [_unlabelled(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    left_out = {"label", "answers"} if "query" in value else {"label"}
    return {name: _unlabelled(each) for name, each in value.items() if name not in left_out}


def _official_rows(task: Task, folder: Path, split: Split) -> Iterator[Row]:
    name = task.files.names[split]
    path = next((path for path in (folder / name, folder / task.files.folder / name) if path.exists()), None)
    if path is None:
        raise FormatError(
            f"{folder} holds neither {name} nor {task.files.folder}/{name}: the official {split} file of {task.name}"
        )
    return json_rows(path) if path.suffix == ".jsonl" else _table_rows(task, path, split)


def _table_rows(task: Task, path: Path, split: Split) -> Iterator[Row]:
    answered = split.startswith("test")  # every row of it needs an answer: none is left out
    skipped: list[str] | None = [] if task.files.skip_broken and not answered else None
    yield from tab_rows(path, task.files.columns.get(split), skipped)
    if skipped:
        _LOG.warning(
            "%s: left out %d rows with a wrong number of columns or an empty one, the first at %s",
            path,
            len(skipped),
            skipped[0],
        )
