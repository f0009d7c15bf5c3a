# SPDX-License-Identifier: MIT
"""Rows from readings: ratios inside rounds, and how sure an extrapolated total is."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from fastformers.benchmarking.ladder.journal import Reading
from fastformers.benchmarking.ladder.queries import deal, sample_by_length
from fastformers.benchmarking.ladder.rungs import Rung
from fastformers.benchmarking.ladder.summary import Facts, row_of, total_interval
from fastformers.benchmarking.ladder.systems import SystemModel
from fastformers.benchmarking.price_table import price_of
from fastformers.recipes.model_folder import OpenedModel

QUERIES = 10


def nothing() -> OpenedModel:
    raise AssertionError("a summary opens no model")


def reading(seconds: float) -> Reading:
    return Reading(
        seconds, QUERIES, (seconds / QUERIES,) * QUERIES, joules=2.0 * seconds, energy_method="rapl"
    )


def rung(name: str, against: str = "") -> Rung:
    return Rung(name, "does it", SystemModel(name, nothing, "0"), "dynamic", against)


READINGS = {
    "slow": [reading(4.0), reading(40.0), reading(4.0)],
    "fast": [reading(1.0), reading(10.0), reading(2.0)],
}
FACTS = Facts(kind="torch", score=None, memory_mb=1.0, sample=30, texts=30, timed=[])


def row(name: str, against: str = "", **facts: Any) -> Any:
    return row_of(rung(name, against), READINGS, "slow", replace(FACTS, **facts), price_of(3.6), 0.5)


def test_speedups_are_ratios_inside_rounds() -> None:
    fast = row("fast", "slow")
    assert fast.step_speedup.median == fast.total_speedup.median == 4.0
    assert row("slow").step_speedup.median == 1.0


def test_energy_of_two_methods_names_both() -> None:
    mixed = [replace(reading(1.0), energy_method="estimate:tdp"), reading(1.0), reading(1.0)]
    found = row_of(rung("slow"), {"slow": mixed}, "slow", FACTS, None, 1.0)
    assert found.energy_method == "estimate:tdp, rapl"


def test_cost_and_energy_are_of_the_rows_own_times() -> None:
    slow = row("slow")
    assert slow.queries_per_second.median == 2.5
    # 0.4 s a query, 3.6 USD an hour, half of the time used; floats, hence approx.
    assert slow.usd_per_100m == pytest.approx(1e8 * 0.4 * 0.001 / 0.5)
    assert slow.joules_per_100m == pytest.approx(2.0 * 48.0 / 30 * 1e8)
    assert slow.noisy


def test_energy_that_a_round_could_not_read_is_not_made_up() -> None:
    broken = {"slow": [*READINGS["slow"][:2], replace(READINGS["slow"][2], joules=None)]}
    found = row_of(rung("slow"), broken, "slow", FACTS, None, 1.0)
    assert found.joules_per_100m is None
    assert found.usd_per_100m is None


def test_intervals_hold_the_true_total_as_often_as_they_claim() -> None:
    draw = random.Random(0)
    lengths = [draw.randrange(20, 320) for _ in range(1000)]
    seconds = [0.002 * length + draw.gauss(0, 0.05) for length in lengths]
    held = 0
    for seed in range(200):
        rounds = deal(sample_by_length(lengths, 40, seed), 5)
        readings = [
            Reading(sum(alone), len(alone), alone, None, "off")
            for alone in (tuple(seconds[index] for index in one) for one in rounds)
        ]
        timed = [[(lengths[index], index) for index in one] for one in rounds]
        low, high = total_interval(readings, timed, 1000)
        held += low <= sum(seconds) <= high
    # 190 of 200 expected, with a standard deviation of 3; three of those, for the seed is one of many.
    assert held >= 181


def test_answering_the_same_texts_in_every_round_does_not_make_a_sample_larger() -> None:
    once = Reading(6.0, 3, (1.0, 2.0, 3.0), None, "off")
    timed = [(10, 0), (20, 1), (30, 2)]
    assert total_interval([once] * 5, [timed] * 5, 100) == total_interval([once], [timed], 100)


def test_an_extrapolated_total_is_never_below_nothing() -> None:
    uneven = Reading(1.0, 4, (0.001, 0.9, 0.001, 0.098), None, "off")
    low, high = total_interval([uneven], [[(5, 0), (6, 1), (7, 2), (8, 3)]], 100)
    assert low == 0.0
    assert high > 25.0  # the mean's total
