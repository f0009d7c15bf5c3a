# SPDX-License-Identifier: MIT
"""Reads a saved ladder (``fastformers-ladder/1``) for drawing; what is missing or not a number is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from fastformers.errors import FormatError

__all__ = ["SCHEMA", "Range", "Rung", "read_rungs"]

SCHEMA = "fastformers-ladder/1"


@dataclass(frozen=True)
class Range:
    """Median and quartiles of a positive quantity."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """One row of a ladder, as far as pictures show it.

    Attributes:
        name: of the row.
        score: the task's metric, 0 to 100; ``None`` without one.
        queries_per_second: median and quartiles.
        speedup: over the first row: median and quartiles.
        usd: of 100 million queries; ``None`` without a price.
        extrapolated: measured on a sample of the texts.
        noisy: the readings spread over 10 %.
    """

    name: str
    score: float | None
    queries_per_second: Range
    speedup: Range
    usd: float | None
    extrapolated: bool
    noisy: bool


def read_rungs(report: Mapping[str, Any]) -> list[Rung]:
    """Returns the rows of a ladder.

    Args:
        report: what ``LadderReport.to_dict()`` gives, or its JSON.

    Raises:
        FormatError: another schema, no rows, or a field that is absent or no number.
    """
    if report.get("schema") != SCHEMA:
        raise FormatError(f"schema is {report.get('schema')!r}, must be {SCHEMA!r}")
    rows = report.get("rows")
    if not isinstance(rows, list) or not rows:
        raise FormatError("the ladder has no rows")
    return [_rung(row, f"row {number}") for number, row in enumerate(rows, 1)]


def _rung(row: Any, where: str) -> Rung:
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
        raise FormatError(f"{where} has no name")
    where = f"{where} ({row['name']})"
    return Rung(
        name=row["name"],
        score=_optional(row, "score", where),
        queries_per_second=_range(row, "queries_per_second", where),
        speedup=_range(row, "total_speedup", where),
        usd=_optional(row, "usd_per_100m", where),
        extrapolated=row.get("extrapolated") is True,
        noisy=row.get("noisy") is True,
    )


def _range(row: Mapping[str, Any], field: str, where: str) -> Range:
    spread = row.get(field)
    if not isinstance(spread, Mapping):
        raise FormatError(f"{where}: {field} is absent")
    median = _positive(spread.get("median"), f"{where}: {field}.median")
    return Range(
        median,
        _positive(spread.get("low", median), f"{where}: {field}.low"),
        _positive(spread.get("high", median), f"{where}: {field}.high"),
    )


def _optional(row: Mapping[str, Any], field: str, where: str) -> float | None:
    value = row.get(field)
    return None if value is None else _number(value, f"{where}: {field}")


def _positive(value: Any, what: str) -> float:
    number = _number(value, what)
    if number <= 0:
        raise FormatError(f"{what} is {number!r}, must be above 0")
    return number


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise FormatError(f"{what} is {value!r}, must be a finite number")
    return float(value)
