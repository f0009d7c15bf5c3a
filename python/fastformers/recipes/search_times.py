# SPDX-License-Identifier: MIT
"""Times of a search's students, kept in its output folder: a search that is run again decides as it did before.

Times differ a little from run to run. Measured anew they would drop students that were trained already, and lead the
search to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from fastformers.errors import FormatError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes, read_json
from fastformers.measuring import Spread
from fastformers.recipes.output_names import TIMES
from fastformers.recipes.search_space import Candidate

__all__ = ["SearchTimes", "Timing"]

_SCHEMA = "fastformers-search-times/1"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Timing:
    """How fast a student is, and the shape that was timed.

    Attributes:
        milliseconds: of a text.
        speedup: times as fast as the teacher.
        heads: of each layer.
        ffn: neurons of each feed-forward layer.
    """

    milliseconds: float
    speedup: Spread
    heads: int
    ffn: int


class SearchTimes:
    """The times in a folder. A file that is damaged is as good as none: what it held is timed again.

    Args:
        folder: of the search's results; exists.
        timed: digest of all that times depend on but the student's shape.
    """

    def __init__(self, folder: Path, timed: str) -> None:
        self._file, self._timed = folder / TIMES, timed
        try:
            found = read_json(self._file, _MOST_BYTES)
        except FormatError:
            found = {}
        known = found.get("timed") if found.get("schema") == _SCHEMA else None
        self._all: dict[str, Any] = known if isinstance(known, dict) else {}
        own = self._all.get(timed)
        self._own: dict[str, Any] = own if isinstance(own, dict) else {}

    def get(self, candidate: Candidate) -> Timing | None:
        """Returns what was measured of a student; ``None`` when nothing was."""
        entry = self._own.get(_name(candidate))
        return _timing(entry) if isinstance(entry, Mapping) else None

    def keep(self, candidate: Candidate, timing: Timing) -> None:
        """Notes what was measured of a student, in one step."""
        self._own[_name(candidate)] = asdict(timing)
        self._all[self._timed] = self._own
        replace_file(self._file, json_bytes({"schema": _SCHEMA, "timed": self._all}))


def _name(candidate: Candidate) -> str:
    """Shares in full: the student's own name rounds them."""
    return " ".join(map(str, astuple(candidate)))


def _timing(entry: Mapping[str, Any]) -> Timing | None:
    spread = entry.get("speedup")
    names = {each.name for each in fields(Spread)}
    if not isinstance(spread, Mapping) or spread.keys() != names:
        return None
    numbers = [entry.get(name) for name in ("milliseconds", "heads", "ffn")]
    if not all(isinstance(value, int | float) for value in (*numbers, *spread.values())):
        return None
    return Timing(entry["milliseconds"], Spread(**spread), entry["heads"], entry["ffn"])
