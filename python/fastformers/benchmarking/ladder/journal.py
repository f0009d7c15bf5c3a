# SPDX-License-Identifier: MIT
"""Readings of a ladder, kept as they are taken, so that an interrupted run goes on at the round where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.replaced_file import replace_file

__all__ = ["Journal", "Reading"]

_SCHEMA = "fastformers-ladder-rounds/1"
_MICRO = 7
_SHOWN = 60


@dataclass(frozen=True)
class Reading:
    """One row in one round.

    Attributes:
        seconds: that the round's queries took together.
        queries: how many they were.
        alone: seconds of each query, nothing else in flight; of large batches, of some of them.
        joules: energy of ``seconds``; ``None`` where it could not be read.
        energy_method: how it was found.
    """

    seconds: float
    queries: int
    alone: tuple[float, ...]
    joules: float | None
    energy_method: str

    @property
    def seconds_per_query(self) -> float:
        """Time that passed divided by the queries answered in it."""
        return self.seconds / self.queries


class Journal:
    """``rounds.jsonl``: a line that says which ladder it is of, then a line for each reading.

    Args:
        path: the file; its folder exists.
        key: names everything that readings depend on.
        rows: names of all rows of a round.
        overwrite: throw readings of another ladder away.

    Raises:
        ConfigError: the file holds readings of another ladder.
        FormatError: it is none of ours.
    """

    def __init__(self, path: Path, key: str, rows: Sequence[str], *, overwrite: bool = False) -> None:
        self._path, self._rows = path, tuple(rows)
        self.rounds: list[dict[str, Reading]] = []
        if path.exists() and not overwrite:
            self._read(key)
        elif path.exists():
            found, readings = _parse(path)
            self.rounds = self._complete(readings) if found == key else []
        header = json.dumps({"schema": _SCHEMA, "key": key})
        lines = [_line(n, row, reading) for n, one in enumerate(self.rounds) for row, reading in one.items()]
        replace_file(path, "".join(f"{line}\n" for line in (header, *lines)).encode("utf-8"))

    def note(self, round_index: int, row: str, reading: Reading) -> None:
        """Writes a reading down."""
        if round_index == len(self.rounds):
            self.rounds.append({})
        self.rounds[round_index][row] = reading
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(round_index, row, reading) + "\n")

    def _read(self, key: str) -> None:
        found, readings = _parse(self._path)
        if found != key and readings:
            raise ConfigError(
                f"{self._path} holds readings of another ladder (other models, texts, settings, machine or versions): "
                "choose another output folder, or pass overwrite=True (--overwrite)"
            )
        self.rounds = self._complete(readings)  # none where a run of other settings stopped before its first

    def _complete(self, readings: Mapping[int, dict[str, Reading]]) -> list[dict[str, Reading]]:
        """Whole rounds only: rows of a round are compared with each other, so they must be of the same minutes."""
        whole: list[dict[str, Reading]] = []
        while set(readings.get(len(whole), ())) == set(self._rows):
            whole.append(readings[len(whole)])
        return whole


def _line(round_index: int, row: str, reading: Reading) -> str:
    plain = asdict(reading)
    plain["alone"] = [round(value, _MICRO) for value in reading.alone]
    return json.dumps({"round": round_index, "row": row, **plain})


def _parse(path: Path) -> tuple[str, dict[int, dict[str, Reading]]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = _object(lines[0]) if lines else None
    if header is None or header.get("schema") != _SCHEMA:
        raise FormatError(
            f"{path} is not a ladder's {_SCHEMA}: move it away, or choose another output folder"
        )
    readings: dict[int, dict[str, Reading]] = {}
    for line in lines[1:]:
        found = _object(line)
        if found is None:  # the line that a killed run was writing
            break
        try:
            index, row = found.pop("round"), found.pop("row")
            reading = Reading(**{**found, "alone": tuple(found["alone"])})
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"{path}: {line[:_SHOWN]!r} is no reading: delete the file to start anew"
            ) from error
        readings.setdefault(index, {})[row] = reading
    return str(header.get("key")), readings


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
