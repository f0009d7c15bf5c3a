# SPDX-License-Identifier: MIT
"""Prices of machines by the hour: a dated table in a data file, or whatever the user pays.

Prices change and differ by region and contract: each comes with its date, and what is printed names it. A number of
your own always goes before the table.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from fastformers.errors import ConfigError

__all__ = ["Instance", "Price", "price_of", "price_table"]

_CLOSE = 0.4
_MOST_MATCHES = 5


@dataclass(frozen=True)
class Price:
    """What a machine costs.

    Attributes:
        name: of the machine; ``"as given"`` for a number of the user's.
        usd_per_hour: US dollars an hour.
        date: when that was the price, as in the table; empty for a number of the user's.
    """

    name: str
    usd_per_hour: float
    date: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """Returns price, machine and date."""
        dated = f", {self.date}" if self.date else ""
        return f"{self.usd_per_hour:g} USD/h ({self.name}{dated})"


@dataclass(frozen=True)
class Instance:
    """One row of the price table.

    Attributes:
        provider: who lets it.
        name: of the instance type.
        vcpus: logical CPUs; most types count two for a core.
        usd_per_hour: on demand, Linux.
        region: where.
        date: year, month or day of that price, as exactly as it is known.
        source: in words.
    """

    provider: str
    name: str
    vcpus: int
    usd_per_hour: float
    region: str
    date: str
    source: str

    @property
    def full_name(self) -> str:
        """Provider and name, e.g. ``"azure:F16s_v2"``."""
        return f"{self.provider}:{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return asdict(self)


@cache
def price_table() -> tuple[Instance, ...]:
    """Returns the table, in the order of the file ``data/prices.toml``."""
    raw = (files("fastformers") / "data" / "prices.toml").read_text(encoding="utf-8")
    return tuple(Instance(**row) for row in tomllib.loads(raw)["instance"])


def price_of(price: str | float) -> Price:
    """Finds a price.

    Args:
        price: US dollars an hour, as a number or as text; or the name of an instance type in the table, with or
            without its provider, in any case: ``"azure:F16s_v2"``, ``"f16s_v2"``.

    Raises:
        ConfigError: not in the table (names that come close are told), or not a number from 0.

    Example:
        >>> price_of("F16s_v2").usd_per_hour, price_of(0.5).usd_per_hour
        (0.677, 0.5)
    """
    given = _number(price)
    if given is not None:
        if not (isfinite(given) and given >= 0):
            raise ConfigError(f"price is {price!r}; allowed: US dollars an hour, from 0")
        return Price("as given", given, "")
    wanted = str(price).strip().lower()
    for row in price_table():
        if wanted in (row.full_name.lower(), row.name.lower()):
            return Price(row.full_name, row.usd_per_hour, row.date)
    raise ConfigError(f"no price is known for {price!r}{_close_to(wanted)}")


def _number(price: str | float) -> float | None:
    try:
        return None if isinstance(price, bool) else float(price)
    except ValueError:
        return None


def _close_to(wanted: str) -> str:
    known = {name.lower(): row.full_name for row in price_table() for name in (row.name, row.full_name)}
    close = [known[name] for name in get_close_matches(wanted, known, n=_MOST_MATCHES, cutoff=_CLOSE)]
    near = f"; close: {', '.join(dict.fromkeys(close))}" if close else ""
    return f"{near}. `fastformers cost --list` shows the table; or give US dollars an hour"
