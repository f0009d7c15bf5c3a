# SPDX-License-Identifier: MIT
"""What 100 million queries cost on a machine that is paid by the hour, the unit in which the paper states its costs.

One formula, so that every row of every table is priced alike. Only arithmetic here: prices are in ``price_table``.
"""

from __future__ import annotations

from math import isfinite

from fastformers.errors import ConfigError

__all__ = ["QUERIES", "checked_utilisation", "joules_per_100m", "usd_per_100m"]

#: Queries that costs and energies are stated for.
QUERIES = 100_000_000
_SECONDS_PER_HOUR = 3600.0


def usd_per_100m(seconds_per_query: float, usd_per_hour: float, utilisation: float = 1.0) -> float:
    """States the price of 100 million queries.

    The seconds are those of the whole machine: with several instances at once, the time that passes divided by the
    queries that all of them answer in it. The paper's own costs (Table 3: 4,223 USD down to 18 USD on an Azure
    F16s_v2) come out at 0.677 USD per hour and full utilisation.

    Args:
        seconds_per_query: time that passes / queries answered, in seconds; above 0.
        usd_per_hour: price of the machine; 0 or more.
        utilisation: share of the paid time in which queries are answered, in (0, 1]; a service that is ready for
            its busiest minute stays well below 1.

    Returns:
        US dollars.

    Raises:
        ConfigError: a number is out of range, or not finite.

    Example:
        >>> round(usd_per_100m(734.35 / 3270, 0.677))
        4223
    """
    if not (isfinite(seconds_per_query) and seconds_per_query > 0):
        raise ConfigError(f"seconds_per_query is {seconds_per_query!r}; allowed: a finite number above 0")
    if not (isfinite(usd_per_hour) and usd_per_hour >= 0):
        raise ConfigError(f"usd_per_hour is {usd_per_hour!r}; allowed: a finite number from 0")
    hours = seconds_per_query * QUERIES / _SECONDS_PER_HOUR
    return hours * usd_per_hour / checked_utilisation(utilisation)


def joules_per_100m(joules: float | None, queries: int) -> float | None:
    """Scales an energy that was read over some queries to 100 million of them.

    Args:
        joules: energy of all of them; ``None`` where it could not be read.
        queries: how many were answered, at least 1.

    Returns:
        Joules, or ``None`` where there was no reading.

    Raises:
        ConfigError: ``queries`` is below 1.

    Example:
        >>> joules_per_100m(5.0, 1000)
        500000.0
    """
    if queries < 1:
        raise ConfigError(f"queries is {queries!r}; allowed: a whole number from 1")
    return None if joules is None else joules / queries * QUERIES


def checked_utilisation(utilisation: float) -> float:
    """Returns the share if it is one.

    Raises:
        ConfigError: it is not in (0, 1].
    """
    if not 0 < utilisation <= 1:
        raise ConfigError(
            f"utilisation is {utilisation!r}; allowed: a share above 0, at most 1 (0.5 for 50 %)"
        )
    return utilisation
