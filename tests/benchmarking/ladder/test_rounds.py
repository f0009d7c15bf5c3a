# SPDX-License-Identifier: MIT
"""Readings are long enough to be compared: few texts are answered several times over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastformers.benchmarking.ladder import rounds
from fastformers.benchmarking.ladder.journal import Journal, Reading
from fastformers.benchmarking.ladder.rounds import Plan, take_rounds
from fastformers.benchmarking.ladder.ways import Contestant
from fastformers.errors import ConfigError, FormatError

TEXTS = ["a", "b", "c"]
SECONDS = 0.004  # of a text
LEAST = 0.05


def contestant(under_load: bool, in_large_batches: bool = False) -> Contestant:
    def alone(texts: Sequence[Any]) -> list[float]:
        time.sleep(SECONDS * len(texts))
        return [SECONDS] * len(texts)

    return Contestant(
        timed=lambda texts: sum(alone(texts)),
        alone=alone,
        memory_mb=lambda: 1.0,
        under_load=under_load,
        scored=lambda: pytest.fail("nothing is scored here"),
        precision="float32",
        in_large_batches=in_large_batches,
    )


def readings(folder: Path, one: Contestant) -> list[Reading]:
    journal = Journal(folder / "rounds.jsonl", "key", ["row"])
    plan = Plan({"row": [TEXTS] * 3}, 3, "off")
    return take_rounds({"row": one}, plan, journal, lambda _: None).readings["row"]


@pytest.mark.parametrize("under_load", [True, False])
def test_a_short_share_is_answered_several_times_over(
    under_load: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LEAST_SECONDS", LEAST)
    for reading in readings(tmp_path, contestant(under_load)):
        assert reading.seconds >= LEAST
        assert reading.queries >= LEAST / SECONDS
        assert reading.queries % len(TEXTS) == 0
        assert reading.seconds_per_query == pytest.approx(SECONDS)
        assert len(reading.alone) == (len(TEXTS) if under_load else reading.queries)


@pytest.mark.parametrize(("under_load", "large"), [(True, True), (True, False), (False, False)])
def test_long_shares_and_large_batches_are_answered_once(
    under_load: bool, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LEAST_SECONDS", LEAST if large else SECONDS)
    assert {reading.queries for reading in readings(tmp_path, contestant(under_load, large))} == {len(TEXTS)}


def test_no_text_is_timed_alone_in_a_large_batch_row_that_was_not_answered_alone_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "_WARM_UP_TEXTS", 1)
    calls: list[tuple[str, ...]] = []

    def alone(texts: Sequence[Any]) -> list[float]:
        calls.append(tuple(texts))
        return [SECONDS] * len(texts)

    def timed(texts: Sequence[Any]) -> float:
        calls.append(("timed",))
        return SECONDS

    readings(tmp_path, replace(contestant(True, True), alone=alone, timed=timed))
    assert calls[:2] == [("timed",), tuple(TEXTS)]


def test_only_rounds_of_an_earlier_run_are_said_to_be_of_one(tmp_path: Path) -> None:
    def noted(count: int) -> Journal:
        journal = Journal(tmp_path / f"{count}.jsonl", "key", ["row"])
        for index in range(count):  # every other one takes twice as long, so all are taken once more
            journal.note(index, "row", Reading(1.0 + index % 2, 1, (1.0,), None, "off"))
        return journal

    def told(count: int) -> list[str]:
        lines: list[str] = []
        take_rounds(
            {"row": contestant(False)}, Plan({"row": [TEXTS] * 4}, 4, "off"), noted(count), lines.append
        )
        return [line for line in lines if "earlier run" in line or "once more" in line]

    again = "the readings of 'row' spread over 67 %: all rounds are taken once more"
    assert told(4) == [again]
    assert told(7) == [f"{again}; 3 of these 4 are there from an earlier run"]
    assert told(2)[0] == "2 of 4 rounds are there from an earlier run"


def test_a_run_that_stopped_before_its_first_reading_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    Journal(path, "key", ["row"])
    Journal(path, "other", ["row"]).note(0, "row", Reading(1.0, 2, (0.5, 0.5), None, "off"))
    assert len(Journal(path, "other", ["row"]).rounds) == 1
    with pytest.raises(ConfigError, match="readings of another ladder"):
        Journal(path, "key", ["row"])


def test_a_line_that_is_no_reading_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    Journal(path, "key", ["row"])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"round": 0}\n')
    with pytest.raises(FormatError, match="is no reading: delete the file"):
        Journal(path, "key", ["row"])


def test_a_round_with_a_long_row_is_taken_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LEAST_SECONDS", 0.5)
    monkeypatch.setattr(rounds, "PART_SECONDS", 3.0)
    asked: list[tuple[str, str]] = []

    def row(name: str, seconds: float, under_load: bool = False) -> Contestant:
        def alone(texts: Sequence[Any]) -> list[float]:
            asked.extend((name, text) for text in texts)
            return [seconds + 0.01 * "abcdefgh".index(text) for text in texts]

        return replace(contestant(under_load), alone=alone, timed=lambda texts: seconds / 2 * len(texts))

    rows = {"slow": row("slow", 1.0), "quick": row("quick", 0.2), "load": row("load", 0.2, under_load=True)}
    texts = list("abcdefgh")
    plan = Plan({"slow": [texts], "quick": [texts], "load": [texts[:2]]}, 1, "off")
    journal = Journal(tmp_path / "rounds.jsonl", "key", list(rows))
    found = {name: one for name, (one,) in take_rounds(rows, plan, journal, lambda _: None).readings.items()}
    # 8.3 s in parts of 3 s: four; 1.6 s in pieces of at least 0.5 s: two; 0.4 s: one, twice over, in each part.
    assert {name: one.queries for name, one in found.items()} == {"slow": 8, "quick": 16, "load": 4 * 2 * 3}
    in_order = [0.01 * number for number in range(8)]
    assert found["slow"].alone == pytest.approx([1.0 + more for more in in_order])
    assert found["quick"].alone == pytest.approx([0.2 + more for more in in_order] * 2)
    assert found["load"].alone == pytest.approx([0.2, 0.21] * 4)
    assert found["slow"].seconds == pytest.approx(8.28)
    assert found["load"].seconds == pytest.approx(24 * 0.1)
    measured = asked[-(sum(one.queries for one in found.values())) :]
    where = [number for number, (name, _) in enumerate(measured) if name == "slow"]
    assert where[-1] - where[0] > len(measured) / 2  # all along the round, not at one end of it
