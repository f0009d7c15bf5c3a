# SPDX-License-Identifier: MIT
"""Costs are the paper's, prices are dated, and what cannot be priced says so."""

from __future__ import annotations

import math

import pytest

from fastformers.benchmarking.cost import joules_per_100m, usd_per_100m
from fastformers.benchmarking.price_table import price_of, price_table
from fastformers.errors import ConfigError

BOOLQ_QUERIES = 3270
# Table 3 of the paper: seconds for all BoolQ validation queries, US dollars for 100 million.
TABLE_3 = [(734.35, 4223), (209.29, 1204), (22.5, 129), (9.97, 57), (5.68, 33), (4.11, 24), (3.14, 18)]


@pytest.mark.parametrize(("seconds", "usd"), TABLE_3)
def test_the_papers_costs_come_out(seconds: float, usd: int) -> None:
    price = price_of("azure:F16s_v2").usd_per_hour
    assert round(usd_per_100m(seconds / BOOLQ_QUERIES, price)) == usd


def test_half_the_utilisation_costs_twice_as_much() -> None:
    assert usd_per_100m(0.01, 1.0, utilisation=0.5) == 2 * usd_per_100m(0.01, 1.0)


@pytest.mark.parametrize(
    ("seconds", "price", "utilisation", "named"),
    [
        (0.0, 1.0, 1.0, "seconds_per_query"),
        (math.nan, 1.0, 1.0, "seconds_per_query"),
        (math.inf, 1.0, 1.0, "seconds_per_query"),
        (0.1, -1.0, 1.0, "usd_per_hour"),
        (0.1, math.nan, 1.0, "usd_per_hour"),
        (0.1, 1.0, 0.0, "utilisation"),
        (0.1, 1.0, 60.0, "utilisation"),
        (0.1, 1.0, math.nan, "utilisation"),
    ],
)
def test_numbers_out_of_range_are_named(seconds: float, price: float, utilisation: float, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        usd_per_100m(seconds, price, utilisation)


def test_energy_is_scaled_and_its_absence_kept() -> None:
    assert joules_per_100m(5.0, 1000) == 500_000.0
    assert joules_per_100m(None, 1000) is None
    with pytest.raises(ConfigError, match="queries"):
        joules_per_100m(5.0, 0)


def test_every_row_of_the_table_is_dated_and_says_where_it_comes_from() -> None:
    names = [row.full_name for row in price_table()]
    assert len(names) == len(set(names)) > 10
    for row in price_table():
        assert row.date[:2] == "20"
        assert row.source
        assert row.vcpus >= 1
        most = (
            0.5 if row.full_name.startswith(("aws:g", "aws:p")) else 0.1
        )  # of machines with a GPU, and without
        assert 0.01 < row.usd_per_hour / row.vcpus < most, row.full_name


@pytest.mark.parametrize("name", ["azure:F16s_v2", "F16s_v2", "f16S_V2", " azure:f16s_v2 "])
def test_a_machine_is_found_with_or_without_its_provider(name: str) -> None:
    found = price_of(name)
    assert (found.name, found.usd_per_hour, found.date) == ("azure:F16s_v2", 0.677, "2020-11")


@pytest.mark.parametrize("number", [0.68, "0.68"])
def test_a_price_of_ones_own_needs_no_table(number: float | str) -> None:
    assert str(price_of(number)) == "0.68 USD/h (as given)"


def test_an_unknown_machine_is_answered_with_close_names() -> None:
    with pytest.raises(ConfigError, match=r"azure:F16s_v2.*cost --list"):
        price_of("F16s")


@pytest.mark.parametrize("price", [-1.0, math.nan, "inf"])
def test_a_price_that_is_none_is_refused(price: float | str) -> None:
    with pytest.raises(ConfigError, match="price is"):
        price_of(price)
