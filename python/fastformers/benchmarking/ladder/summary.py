# SPDX-License-Identifier: MIT
"""From readings to rows: medians over rounds, ratios inside rounds, and totals with their confidence where sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from fastformers.benchmarking.cost import joules_per_100m, usd_per_100m
from fastformers.benchmarking.ladder.journal import Reading
from fastformers.benchmarking.ladder.report import LadderRow
from fastformers.benchmarking.ladder.rounds import spread_of
from fastformers.benchmarking.ladder.rungs import Rung
from fastformers.benchmarking.measurement import NOISY
from fastformers.benchmarking.price_table import Price
from fastformers.measuring import Spread, paired_ratio, percentile, spread

__all__ = ["Facts", "row_of", "total_interval"]

_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Facts:
    """What is known of a row besides its readings.

    Attributes:
        kind: which software answers.
        score: 0 to 100, or ``None``.
        memory_mb: in 10^6 bytes.
        sample: texts timed.
        texts: of the whole set.
        timed: (tokens, index) of the texts timed, round by round; empty where texts are computed in large batches, so
            that the times of single ones say nothing of the total.
        paper_speedup: published, or ``None``.
    """

    kind: str
    score: float | None
    memory_mb: float
    sample: int
    texts: int
    timed: Sequence[Sequence[tuple[int, int]]]
    paper_speedup: float | None = None


def row_of(
    rung: Rung,
    readings: Mapping[str, Sequence[Reading]],
    first: str,
    facts: Facts,
    price: Price | None,
    utilisation: float,
) -> LadderRow:
    """Summarises one row.

    Args:
        rung: the row.
        readings: of all rows.
        first: name of the row that total speed-ups are over.
        facts: what else is known.
        price: of the machine.
        utilisation: of the machine.
    """
    own = readings[rung.name]
    queries = sum(reading.queries for reading in own)
    mean = sum(reading.seconds for reading in own) / queries
    extrapolated = facts.sample < facts.texts
    milliseconds = [1e3 * value for reading in own for value in reading.alone]
    speed = spread([1 / reading.seconds_per_query for reading in own])
    joules = [reading.joules for reading in own]
    total = None if any(value is None for value in joules) else sum(value or 0.0 for value in joules)
    return LadderRow(
        name=rung.name,
        meaning=rung.meaning,
        kind=facts.kind,
        score=facts.score,
        queries_per_second=speed,
        latency_ms=spread(milliseconds),
        p99_ms=percentile(milliseconds, 99),
        total_seconds=mean * facts.texts,
        total_interval=total_interval(own, facts.timed, facts.texts)
        if extrapolated and facts.timed
        else None,
        sample=facts.sample,
        against=rung.against,
        step_speedup=_times_faster(readings, rung.against or rung.name, rung.name),
        total_speedup=_times_faster(readings, first, rung.name),
        memory_mb=facts.memory_mb,
        usd_per_100m=None
        if price is None
        else usd_per_100m(1 / speed.median, price.usd_per_hour, utilisation),
        joules_per_100m=joules_per_100m(total, queries),
        energy_method=", ".join(dict.fromkeys(reading.energy_method for reading in own)),
        extrapolated=extrapolated,
        noisy=spread_of(own) > NOISY,
        paper_speedup=facts.paper_speedup,
    )


def _times_faster(readings: Mapping[str, Sequence[Reading]], slow: str, fast: str) -> Spread:
    return paired_ratio(
        [reading.seconds_per_query for reading in readings[slow]],
        [reading.seconds_per_query for reading in readings[fast]],
    )


def total_interval(
    readings: Sequence[Reading], timed: Sequence[Sequence[tuple[int, int]]], texts: int
) -> tuple[float, float]:
    """Returns a 95 % confidence interval of the seconds of all texts, from those of a sample.

    The sample is even over the lengths, so what is uncertain is how much texts of like length differ, and how much the
    machine did: estimated from differences of neighbours in the order of lengths. A text that was timed several times
    counts once, with its mean.

    Args:
        readings: of the sample, one a round, with seconds of single queries.
        timed: (tokens, index) of the same queries.
        texts: of the whole set.
    """
    seconds_of: dict[tuple[int, int], list[float]] = {}
    for reading, of_round in zip(readings, timed, strict=True):
        times = len(reading.alone) // len(of_round)  # short readings answer their texts several times over
        for text, seconds in zip([*of_round] * times, reading.alone, strict=True):
            seconds_of.setdefault(text, []).append(seconds)
    values = [sum(seconds) / len(seconds) for _, seconds in sorted(seconds_of.items())]
    squares = sum((one - two) ** 2 for one, two in pairwise(values))
    deviation = sqrt(squares / (2 * (len(values) - 1)))
    mean = sum(reading.seconds for reading in readings) / sum(reading.queries for reading in readings)
    half = _NORMAL_95 * deviation / sqrt(len(values))
    return max(0.0, mean - half) * texts, (mean + half) * texts
