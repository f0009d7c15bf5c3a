# SPDX-License-Identifier: MIT
"""``task.json``: what a model answers. It lies in every model's folder, so that each command takes a folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.fields import short
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import MOST_JSON_BYTES, json_bytes, read_json
from fastformers.files.text_form import PAIRS, TASK_FILE, check_form, pairs_field
from fastformers.tasks.custom import CUSTOM, task_with_labels
from fastformers.tasks.encoding import TRUNCATIONS, EncodedExamples, LostSpans, Truncation, encode
from fastformers.tasks.example import Example
from fastformers.tasks.registry import get_task
from fastformers.tasks.task import Task

__all__ = ["TASK_FILE", "TaskFile"]

_MOST_LABELS = 1 << 16
_MOST_TOKENS = 1 << 20
_FIELDS: dict[str, type] = {
    "task": str,
    "kind": str,
    "labels": list,
    "max_length": int,
    "num_spans": int,
    "truncation": str,
}


@dataclass(frozen=True)
class TaskFile:
    """A task and how its texts were cut, as a file.

    Attributes:
        task: the task.
        max_length: tokens after which texts are cut.
        truncation: as :func:`fastformers.tasks.encode` takes it.
        pairs: whether the model learned from pairs of texts; ``None`` where that is not known, or it has read both.

    Raises:
        ConfigError: the file could not be read again: ``max_length`` is out of range, or there are too many labels.
    """

    task: Task
    max_length: int
    truncation: Truncation = "keep_question"
    pairs: bool | None = None

    def __post_init__(self) -> None:
        """Refuses what :meth:`from_dict` would, before a model is trained that it is to be saved with."""
        if not 2 < self.max_length <= _MOST_TOKENS:
            raise ConfigError(f"max_length is {self.max_length}, must be from 3 to {_MOST_TOKENS}")
        size = len(json_bytes(self.to_dict()))
        if len(self.task.labels) > _MOST_LABELS or size > MOST_JSON_BYTES:
            raise ConfigError(
                f"{len(self.task.labels)} labels take {size} bytes in {TASK_FILE}; allowed: {_MOST_LABELS} labels and "
                f"{MOST_JSON_BYTES} bytes"
            )

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, lost_spans: LostSpans = "drop"
    ) -> EncodedExamples:
        """Tokenises examples of the task and cuts them as this file says; see :func:`fastformers.tasks.encode`.

        Raises:
            ConfigError: as there, or some are pairs where the model learned from single texts, or the other way round.
        """
        check_form(self.pairs, [example.text_pair is not None for example in examples])
        return encode(
            examples,
            tokenizer,
            self.task,
            max_length=self.max_length,
            truncation=self.truncation,
            lost_spans=lost_spans,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the file's content: task, kind, labels, max_length, num_spans, truncation, pairs."""
        return {
            "task": self.task.name,
            "kind": self.task.kind,
            "labels": list(self.task.labels),
            "max_length": self.max_length,
            "num_spans": len(self.task.span_texts),
            "truncation": self.truncation,
            PAIRS: self.pairs,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TaskFile:
        """Reads what :meth:`to_dict` gave.

        Raises:
            FormatError: a field is missing, unknown, of another type, or contradicts the task of that name.
        """
        for name, kind in _FIELDS.items():
            value = content.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise FormatError(f"{TASK_FILE}: {name} is {short(value)}, must be of type {kind.__name__}")
        known = [*_FIELDS, PAIRS]
        unknown = sorted(content.keys() - {*known})
        if unknown:
            raise FormatError(f"{TASK_FILE} has an unknown field {unknown[0]!r}; known: {', '.join(known)}")
        if content["truncation"] not in TRUNCATIONS:
            allowed = " or ".join(map(repr, TRUNCATIONS))
            raise FormatError(f"{TASK_FILE}: truncation is {short(content['truncation'])}, must be {allowed}")
        task = _task(content["task"], content["labels"])
        try:
            found = cls(task, content["max_length"], content["truncation"], pairs_field(content))
        except ConfigError as error:
            raise FormatError(f"{TASK_FILE}: {error}") from error
        for name in ("kind", "labels", "num_spans"):
            if found.to_dict()[name] != content[name]:
                raise FormatError(
                    f"{TASK_FILE}: {name} is {short(content[name])}; the task {content['task']!r} has "
                    f"{short(found.to_dict()[name])}"
                )
        return found

    def save(self, folder: str | Path) -> None:
        """Writes the file into a folder, in one step."""
        replace_file(Path(folder) / TASK_FILE, json_bytes(self.to_dict()))

    @classmethod
    def load(cls, folder: str | Path) -> TaskFile:
        """Reads the file of a folder.

        Raises:
            FormatError: missing or damaged; says how.
        """
        return cls.from_dict(read_json(Path(folder) / TASK_FILE))


def _task(name: str, labels: list[Any]) -> Task:
    if name != CUSTOM:
        try:
            return get_task(name)
        except ConfigError as error:
            raise FormatError(f"{TASK_FILE}: {error}") from error
    if not all(isinstance(label, str) and label for label in labels):
        raise FormatError(f"{TASK_FILE}: labels is {short(labels)}, must be a list of texts")
    if len(labels) == 1 or len(set(labels)) != len(labels) or len(labels) > _MOST_LABELS:
        raise FormatError(
            f"{TASK_FILE}: labels is {short(labels)}, must be distinct and two or more, or none"
        )
    return task_with_labels(tuple(labels))
