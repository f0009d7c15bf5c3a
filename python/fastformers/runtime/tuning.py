# SPDX-License-Identifier: MIT
"""What ``fastformers tune`` found for a folder: ``tuning.json`` beside the artefact, not part of it.

A tuning says something about one machine and one kind of text, so it is outside the artefact's hashes, may be deleted
at any time, and is ignored on a machine with another number of cores.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from fastformers.errors import FormatError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes

__all__ = ["TUNING_FILE", "Arrangement", "Goal", "Tuning", "read_tuning", "write_tuning"]

TUNING_FILE = "tuning.json"
FORMAT_VERSION = 1
_LARGEST_FILE_BYTES = 1 << 20
_LARGEST_COUNT = 1 << 20
_MOST_THREADS = 1024

Goal = Literal["throughput", "latency"]


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How an engine is laid out.

    Attributes:
        instances: instances that compute at once.
        threads: threads of each.
        batch_tokens: most tokens in one piece of work; longer lists are cut into several.
    """

    instances: int
    threads: int
    batch_tokens: int


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The best arrangements measured on one machine.

    Attributes:
        cores: threads that machine would use by default; the tuning holds for machines with as many.
        cpu: name of its CPU, for people.
        throughput: the arrangement with the most texts a second.
        latency: the one with the lowest 99th percentile of single requests.
    """

    cores: int
    cpu: str
    throughput: Arrangement
    latency: Arrangement


def write_tuning(folder: Path | str, tuning: Tuning) -> Path:
    """Writes ``tuning.json`` into a folder; an interrupted write leaves the old one.

    Returns:
        The file's path.
    """
    path = Path(folder) / TUNING_FILE
    replace_file(path, json_bytes({"format": FORMAT_VERSION, **asdict(tuning)}))
    return path


def read_tuning(folder: Path | str) -> Tuning | None:
    """Reads a folder's tuning; ``None`` when it has none.

    Raises:
        FormatError: the file is not one that :func:`write_tuning` writes, or of a newer format; the remedy is to
            delete it or to tune again.
    """
    path = Path(folder) / TUNING_FILE
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise _wrong(path, "it is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(path, str(error)) from error
    version = values.pop("format", None) if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise _wrong(path, f"its format is {version!r}, this version of fastformers reads {FORMAT_VERSION}")
    plain = _fields_of(Tuning, values, path)
    if not isinstance(plain["cpu"], str):
        raise _wrong(path, "cpu is not a string")
    return Tuning(
        cores=_count(plain, "cores", path),
        cpu=plain["cpu"],
        throughput=_arrangement(plain["throughput"], path),
        latency=_arrangement(plain["latency"], path),
    )


def _arrangement(values: object, path: Path) -> Arrangement:
    plain = _fields_of(Arrangement, values, path)
    made = Arrangement(**{name: _count(plain, name, path) for name in plain})
    if made.instances * made.threads > _MOST_THREADS:
        raise _wrong(
            path, f"{made.instances} instances x {made.threads} threads are more than {_MOST_THREADS}"
        )
    return made


def _fields_of(kind: type, values: object, path: Path) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != names:
        raise _wrong(path, f"{kind.__name__} must have exactly the fields {sorted(names)}")
    return values


def _count(values: dict[str, Any], name: str, path: Path) -> int:
    value = values[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST_COUNT:
        raise _wrong(path, f"{name} is {value!r}, expected a whole number from 1 to {_LARGEST_COUNT}")
    return value


def _wrong(path: Path, reason: str) -> FormatError:
    return FormatError(
        f"{path} is not a tuning that can be used: {reason}. Delete it, or write a new one: fastformers tune"
    )
