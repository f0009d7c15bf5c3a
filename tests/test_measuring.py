# SPDX-License-Identifier: MIT
"""The measuring core: what it counts, what it throws away, and in which order contestants take turns."""

from __future__ import annotations

import sys

import pytest

from fastformers.measuring import (
    Spread,
    interleave,
    median_of_slices,
    paired_ratio,
    percentile,
    round_order,
    spread,
    time_block,
)


class FakeMachine:
    """A clock that only calls move, so that a block's arithmetic can be checked exactly."""

    def __init__(self, costs: list[float]) -> None:
        self.now, self.calls, self._costs = 0.0, 0, costs

    def clock(self) -> float:
        return self.now

    def call(self) -> None:
        self.now += self._costs[min(self.calls, len(self._costs) - 1)]
        self.calls += 1


def test_spread_holds_median_and_quartiles() -> None:
    result = spread([4.0, 1.0, 3.0, 2.0, 100.0])
    assert result == Spread(median=3.0, low=2.0, high=4.0, count=5)
    assert result.relative == pytest.approx(2 / 3)
    assert result.scaled(1e3) == Spread(3000.0, 2000.0, 4000.0, 5)
    assert result.as_dict() == {"median": 3.0, "low": 2.0, "high": 4.0, "count": 5}


@pytest.mark.parametrize(("share", "expected"), [(0, 10.0), (50, 15.0), (99, 19.9), (100, 20.0)])
def test_percentile_interpolates(share: float, expected: float) -> None:
    assert percentile([20.0, 10.0], share) == pytest.approx(expected)


@pytest.mark.parametrize("summarise", [spread, lambda values: percentile(values, 50)])
def test_no_readings_are_refused(summarise: object) -> None:
    assert callable(summarise)
    with pytest.raises(ValueError, match="at least one"):
        summarise([])


def test_paired_ratio_cancels_a_slow_round() -> None:
    slow_machine_in_round = [1.0, 30.0, 1.0, 1.0, 1.0]
    ours = [2.0 * factor for factor in slow_machine_in_round]
    theirs = [3.0 * factor for factor in slow_machine_in_round]
    ratio = paired_ratio(theirs, ours)
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 1.5, 1.5)


def test_paired_ratio_refuses_unpaired_rounds() -> None:
    with pytest.raises(ValueError, match="2 readings against 1"):
        paired_ratio([1.0, 2.0], [1.0])


def test_block_does_not_count_the_first_calls() -> None:
    machine = FakeMachine([5.0, 5.0, 0.01])
    assert time_block(machine.call, 1.0, discard=2, clock=machine.clock) == pytest.approx(0.01)


def test_block_warms_up_for_a_fifth_of_its_length_when_calls_are_short() -> None:
    machine = FakeMachine([0.02] * 10 + [0.01])
    assert time_block(machine.call, 1.0, discard=1, clock=machine.clock) == pytest.approx(0.01)


def test_block_lasts_about_as_long_as_asked() -> None:
    machine = FakeMachine([0.001])
    time_block(machine.call, 1.0, clock=machine.clock)
    assert 1.1 <= machine.now <= 1.5


def test_block_counts_one_call_that_is_longer_than_the_block() -> None:
    machine = FakeMachine([7.0])
    assert time_block(machine.call, 0.5, discard=1, clock=machine.clock) == 7.0
    assert machine.calls == 2


@pytest.mark.parametrize("interruption", [0.3, 50.0])
def test_an_interrupted_slice_does_not_count(interruption: float) -> None:
    machine = FakeMachine([0.01] * 60 + [interruption] + [0.01])
    assert time_block(machine.call, 1.0, clock=machine.clock) == pytest.approx(0.01)
    assert machine.calls > 100


def test_block_ends_when_the_clock_is_too_coarse_to_see_a_call() -> None:
    assert median_of_slices(lambda calls: 0.0, 1e-6) == 0.0


@pytest.mark.parametrize(("seconds", "discard"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_block_of_no_length_is_refused(seconds: float, discard: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        time_block(lambda: None, seconds, discard=discard)


def test_every_other_round_is_reversed() -> None:
    turns: list[tuple[str, int]] = []
    readings = {name: lambda index, name=name: turns.append((name, index)) or index for name in "abc"}
    taken = interleave(readings, 3)
    assert [name for name, _ in turns] == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert taken == {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1, 2]}
    assert list(round_order(["x", "y"], 0)) == ["x", "y"]


def test_interleave_reports_each_reading() -> None:
    seen: list[tuple[str, int]] = []
    interleave({"a": lambda i: i, "b": lambda i: i}, 2, after_reading=lambda name, i: seen.append((name, i)))
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_interleave_refuses_no_rounds() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        interleave({"a": lambda i: i}, 0)


def test_measuring_needs_no_torch() -> None:
    import subprocess

    code = "import sys, fastformers.measuring; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
