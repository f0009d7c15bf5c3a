# SPDX-License-Identifier: MIT
"""Speeds of any JSON file this package writes that has queries a second in it, priced again at a price of today."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastformers.benchmarking.cost import usd_per_100m
from fastformers.benchmarking.energy import CarbonIntensity
from fastformers.benchmarking.measurement import SCHEMA as MEASUREMENT
from fastformers.benchmarking.price_table import Price
from fastformers.benchmarking.saved_values import from_zero, positive, rows_of
from fastformers.errors import ConfigError, FormatError

__all__ = ["CostReport", "CostRow", "SavedSpeed", "cost_report", "saved_price", "saved_speeds"]

_LADDER, _DEMO, _INSTANCES = "fastformers-ladder/1", "fastformers-demo/3", "fastformers-instances/1"


@dataclass(frozen=True)
class SavedSpeed:
    """One row of a file.

    Attributes:
        name: of the row.
        queries_per_second: median.
        joules_per_100m: joules of 100 million queries; ``None`` where they are not known.
        energy_method: how they were found; ``"unavailable"`` where the file does not say.
        noisy: marked as spread over 10 %.
        extrapolated: measured on a sample.
    """

    name: str
    queries_per_second: float
    joules_per_100m: float | None
    energy_method: str
    noisy: bool
    extrapolated: bool


@dataclass(frozen=True)
class CostRow:
    """One row with its cost.

    Attributes:
        speed: as saved.
        usd_per_100m: US dollars of 100 million queries.
        kg_co2_per_100m: CO2 of 100 million queries in kg; ``None`` without a country or without an energy.
    """

    speed: SavedSpeed
    usd_per_100m: float
    kg_co2_per_100m: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns speed and cost in one level of JSON values."""
        costs = {"usd_per_100m": self.usd_per_100m, "kg_co2_per_100m": self.kg_co2_per_100m}
        return {**asdict(self.speed), **costs}


@dataclass(frozen=True)
class CostReport:
    """Costs of all rows at one price.

    Attributes:
        price: of the machine.
        utilisation: share of the paid time in which queries are answered.
        carbon: of the electricity; ``None`` when no country was given.
        rows: in the order of the file.
    """

    price: Price
    utilisation: float
    carbon: CarbonIntensity | None
    rows: tuple[CostRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values, schema ``fastformers-cost/1``."""
        return {
            "schema": "fastformers-cost/1",
            "price": self.price.to_dict(),
            "utilisation": self.utilisation,
            "carbon": None if self.carbon is None else asdict(self.carbon),
            "rows": [row.to_dict() for row in self.rows],
        }


def saved_speeds(content: Mapping[str, Any]) -> list[SavedSpeed]:
    """Finds the speeds in a file's content.

    Args:
        content: JSON of a measurement, a ladder, a table of instances or a demo.

    Raises:
        FormatError: a schema without speeds, or a speed that is absent or no number above 0.
    """
    schema = content.get("schema")
    reader = _READERS.get(schema) if isinstance(schema, str) else None
    if reader is None:
        raise FormatError(f"schema is {schema!r}; speeds are read from: {', '.join(_READERS)}")
    return list(reader(content))


def saved_price(content: Mapping[str, Any]) -> Price | None:
    """Returns the price that a file was measured with, ``None`` where it has none.

    Raises:
        FormatError: the price is damaged.
    """
    saved = content.get("price")
    if saved is None:
        return None
    if not isinstance(saved, Mapping) or not isinstance(saved.get("name"), str):
        raise FormatError(f"price is {saved!r}, must have name, usd_per_hour and date")
    usd_per_hour = from_zero(saved.get("usd_per_hour"), "price.usd_per_hour")
    return Price(saved["name"], usd_per_hour, str(saved.get("date", "")))


def cost_report(
    content: Mapping[str, Any],
    price: Price | None = None,
    utilisation: float | None = None,
    carbon: CarbonIntensity | None = None,
) -> CostReport:
    """Prices a file's speeds.

    Args:
        content: as for :func:`saved_speeds`.
        price: of the machine; ``None`` takes the file's own.
        utilisation: share of the paid time in which queries are answered, in (0, 1]; ``None`` takes the file's own, or
            1 where it has none.
        carbon: of the electricity, for CO2.

    Raises:
        ConfigError: no price is given and the file has none, or the utilisation is out of range.
        FormatError: see :func:`saved_speeds`.
    """
    speeds = saved_speeds(content)
    paid = price or saved_price(content)
    if paid is None:
        raise ConfigError("the file was measured without a price: give one (--price azure:F16s_v2, or 0.5)")
    share = positive(content.get("utilisation", 1.0), "utilisation") if utilisation is None else utilisation
    rows = tuple(
        CostRow(
            speed, usd_per_100m(1 / speed.queries_per_second, paid.usd_per_hour, share), _kg(speed, carbon)
        )
        for speed in speeds
    )
    return CostReport(paid, share, carbon, rows)


def _kg(speed: SavedSpeed, carbon: CarbonIntensity | None) -> float | None:
    if carbon is None or speed.joules_per_100m is None:
        return None
    return carbon.kilograms(speed.joules_per_100m)


def _measurement(content: Mapping[str, Any]) -> Iterator[SavedSpeed]:
    yield _row(content, str(content.get("subject", "measurement")))


def _rows(content: Mapping[str, Any]) -> Iterator[SavedSpeed]:
    for number, row in enumerate(rows_of(content, "rows", "file"), 1):
        if not isinstance(row, Mapping):
            raise FormatError(f"row {number} is no object")
        yield _row(row, str(row.get("name") or _arrangement(row) or f"row {number}"))


def _arrangement(row: Mapping[str, Any]) -> str:
    """Names a row of a table of instances; empty for others."""
    if "instances" not in row:
        return ""
    return f"{row.get('model')}, {row['instances']} x {row.get('threads')}, {row.get('mode')}"


def _row(row: Mapping[str, Any], name: str) -> SavedSpeed:
    speed = row.get("queries_per_second")
    median = speed.get("median") if isinstance(speed, Mapping) else speed
    joules = row.get("joules_per_100m")
    return SavedSpeed(
        name=name,
        queries_per_second=positive(median, f"{name}: queries_per_second"),
        joules_per_100m=None if joules is None else from_zero(joules, f"{name}: joules_per_100m"),
        energy_method=str(row.get("energy_method") or "unavailable"),
        noisy=row.get("noisy") is True,
        extrapolated=row.get("extrapolated") is True,
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Iterator[SavedSpeed]]] = {
    MEASUREMENT: _measurement,
    _LADDER: _rows,
    _DEMO: _rows,
    _INSTANCES: _rows,
}
