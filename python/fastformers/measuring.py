# SPDX-License-Identifier: MIT
"""The small measuring core: blocks of calls, interleaved in rounds, told as a median with quartiles.

A machine that others use too is faster in one second than in the next. Whoever times contestant A for a
minute and then contestant B for a minute compares two machines. Here every contestant gets one short block
per round, the order is reversed from one round to the next, the first calls after each switch are thrown away
(the previous contestant left its own data in the caches), and two contestants are compared by the ratio
inside the same round. Needs no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

__all__ = [
    "Spread",
    "interleave",
    "median_of_slices",
    "paired_ratio",
    "percentile",
    "round_order",
    "spread",
    "time_block",
]

Reading = TypeVar("Reading")

_DISCARDED_SHARE = 0.2
_SLICES = 10
_CLOCK_STEP = 1e-9


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a list of readings, in the unit of the readings.

    Attributes:
        median: middle reading.
        low: first quartile.
        high: third quartile.
        count: number of readings.
    """

    median: float
    low: float
    high: float
    count: int

    @property
    def relative(self) -> float:
        """Interquartile range divided by the median; 0.02 means that half of the readings lie within 2 %."""
        return (self.high - self.low) / self.median if self.median else 0.0

    def scaled(self, factor: float) -> Spread:
        """Returns the same spread in another unit, e.g. ``scaled(1e3)`` for seconds to milliseconds."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.count)

    def as_dict(self) -> dict[str, float]:
        """Returns the four numbers as a dictionary that JSON can hold."""
        return asdict(self)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value below which ``share`` percent of the readings lie, interpolated linearly.

    Args:
        values: at least one reading, any order.
        share: percent in [0, 100].

    Raises:
        ValueError: no readings, or ``share`` outside [0, 100].

    Example:
        >>> percentile([1.0, 2.0, 3.0], 50)
        2.0
    """
    if len(values) == 0:
        raise ValueError("no readings: at least one is needed")
    return float(np.percentile(np.asarray(values, dtype=np.float64), share))


def spread(values: Sequence[float]) -> Spread:
    """Summarises readings as median and quartiles.

    Args:
        values: at least one reading, any order, any unit.

    Raises:
        ValueError: no readings.

    Example:
        >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
        Spread(median=3.0, low=2.0, high=4.0, count=5)
    """
    return Spread(percentile(values, 50), percentile(values, 25), percentile(values, 75), len(values))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Summarises the ratios of two contestants' readings, taken round by round.

    A slow second of the machine hits both readings of a round, so it cancels out here as it would not in a
    ratio of two medians.

    Args:
        numerators: one reading per round.
        denominators: one reading per round, in the same order of rounds.

    Raises:
        ValueError: the two lists differ in length, or are empty.

    Example:
        >>> paired_ratio([2.0, 40.0, 2.0], [1.0, 20.0, 1.0]).median
        2.0
    """
    if len(numerators) != len(denominators):
        raise ValueError(
            f"{len(numerators)} readings against {len(denominators)}: each round needs one of each"
        )
    return spread([top / bottom for top, bottom in zip(numerators, denominators, strict=True)])


def time_block(
    call: Callable[[], object],
    seconds: float,
    *,
    discard: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Times one block: repeated calls for about ``seconds``, after some that are not counted.

    Args:
        call: what to time; its result is dropped.
        seconds: length of the counted part. At least one call is counted, however long it takes.
        discard: see :func:`median_of_slices`.
        clock: monotonic clock in seconds.

    Returns:
        Seconds per call, see :func:`median_of_slices`.

    Raises:
        ValueError: ``seconds`` or ``discard`` is not positive.

    Example:
        >>> time_block(lambda: None, 0.001) < 0.001
        True
    """

    def time_calls(calls: int) -> float:
        start = clock()
        for _ in range(calls):
            call()
        return (clock() - start) / calls

    return median_of_slices(time_calls, seconds, discard=discard)


def median_of_slices(time_calls: Callable[[int], float], seconds: float, *, discard: int = 2) -> float:
    """Times one block in ten slices and returns the middle one, so that an interrupted slice does not count.

    Args:
        time_calls: number of calls -> mean seconds of one call; for loops that run outside Python.
        seconds: length of the counted part. At least one call is counted, however long it takes.
        discard: calls at the start that are not counted; more are dropped, up to a fifth of ``seconds``, when
            calls are short.

    Returns:
        Seconds per call: the median over the slices of their means.

    Raises:
        ValueError: ``seconds`` or ``discard`` is not positive.
    """
    if seconds <= 0 or discard <= 0:
        raise ValueError(f"seconds={seconds} and discard={discard} must be positive")
    calls, passed = discard, 0.0
    while passed < _DISCARDED_SHARE * seconds:
        mean = max(time_calls(calls), _CLOCK_STEP)
        passed += calls * mean
        calls = max(1, int(seconds / _SLICES / mean))
    # Planned beforehand: a long interruption must not end the block while it is half of what was seen.
    slices = max(1, min(_SLICES, round(seconds / (calls * mean))))
    return percentile([time_calls(calls) for _ in range(slices)], 50)


def round_order(names: Sequence[str], round_index: int) -> Iterator[str]:
    """Yields the contestants of one round: as given in even rounds, reversed in odd ones.

    Example:
        >>> list(round_order(["a", "b"], 1))
        ['b', 'a']
    """
    return reversed(names) if round_index % 2 else iter(names)


def interleave(
    readings: Mapping[str, Callable[[int], Reading]],
    rounds: int,
    *,
    after_reading: Callable[[str, int], None] | None = None,
) -> dict[str, list[Reading]]:
    """Takes one reading of every contestant per round, the order reversed each round.

    Args:
        readings: contestant -> function that is given the round's index (from 0) and returns one reading of
            any type.
        rounds: number of rounds, at least 1.
        after_reading: called with the contestant's name and the round's index after each reading, e.g. to
            show progress.

    Returns:
        Contestant -> its readings, one per round, in the order of the rounds.

    Raises:
        ValueError: ``rounds`` is below 1.

    Example:
        >>> interleave({"a": lambda i: i, "b": lambda i: -i}, 2)
        {'a': [0, 1], 'b': [0, -1]}
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: at least one round is needed")
    taken: dict[str, list[Reading]] = {name: [] for name in readings}
    for round_index in range(rounds):
        for name in round_order(list(readings), round_index):
            taken[name].append(readings[name](round_index))
            if after_reading is not None:
                after_reading(name, round_index)
    return taken
