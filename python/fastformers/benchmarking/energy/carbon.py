# SPDX-License-Identifier: MIT
"""CO2 of an energy, by a country's mix of power stations in a year; the table is codecarbon's (extra ``energy``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastformers._optional import require
from fastformers.errors import ConfigError

__all__ = ["CarbonIntensity", "carbon_intensity"]

_JOULES_PER_KWH = 3.6e6
_GRAMS_PER_KG = 1000.0


@dataclass(frozen=True)
class CarbonIntensity:
    """CO2 that a country's electricity stands for.

    Attributes:
        country: name.
        grams_per_kwh: CO2 equivalents in g of a kWh.
        year: that the figure is of.
    """

    country: str
    grams_per_kwh: float
    year: int

    def kilograms(self, joules: float) -> float:
        """Returns the CO2 of an energy in kg."""
        return joules / _JOULES_PER_KWH * self.grams_per_kwh / _GRAMS_PER_KG

    def __str__(self) -> str:
        """Returns figure, country and year."""
        return f"{self.grams_per_kwh:.0f} g CO2 a kWh ({self.country}, {self.year})"


def carbon_intensity(country: str, mixes: Mapping[str, Mapping[str, Any]] | None = None) -> CarbonIntensity:
    """Looks up a country.

    Args:
        country: ISO code of three letters, e.g. ``"DEU"``.
        mixes: by code: ``carbon_intensity`` in g/kWh, ``country_name`` and ``year``; codecarbon's when ``None``.

    Raises:
        ConfigError: the country is not in the table.
        MissingExtraError: codecarbon is not installed.

    Example:
        >>> carbon_intensity("DEU").kilograms(3.6e6)
        0.38095
    """
    known = _mixes_of_codecarbon() if mixes is None else mixes
    mix = known.get(country.strip().upper())
    if mix is None:
        raise ConfigError(
            f"no CO2 figure is known for country {country!r}: give a code of three letters, e.g. DEU"
        )
    return CarbonIntensity(str(mix["country_name"]), float(mix["carbon_intensity"]), int(mix["year"]))


def _mixes_of_codecarbon() -> Mapping[str, Mapping[str, Any]]:
    source = require("codecarbon.input", "energy", "CO2").DataSource()
    mixes: Mapping[str, Mapping[str, Any]] = source.get_global_energy_mix_data()
    return mixes
