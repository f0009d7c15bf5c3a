# SPDX-License-Identifier: MIT
"""Reads a saved ladder (``fastformers-ladder/1``) for drawing; what is missing or not a number is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastformers.benchmarking.ladder.report import SCHEMA
from fastformers.benchmarking.saved_values import finite, positive, rows_of
from fastformers.errors import FormatError

__all__ = ["Range", "Rung", "read_rungs"]


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
    rows = rows_of(report, "rows", "ladder", schema=SCHEMA)
    return [_rung(row, f"row {place}") for place, row in enumerate(rows, 1)]


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
    median = positive(spread.get("median"), f"{where}: {field}.median")
    return Range(
        median,
        positive(spread.get("low", median), f"{where}: {field}.low"),
        positive(spread.get("high", median), f"{where}: {field}.high"),
    )


def _optional(row: Mapping[str, Any], field: str, where: str) -> float | None:
    value = row.get(field)
    return None if value is None else finite(value, f"{where}: {field}")
