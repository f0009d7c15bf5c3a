# SPDX-License-Identifier: MIT
"""Measures the rows of a ladder beside each other: a block of every row in each round, the order turned each time.

Machines are disturbed for seconds to tens of seconds. A slow row's block takes so long that it evens such out, and the
short ones of fast rows lie wholly in or out of them; so a round with long blocks is taken in parts, with a piece of
every row in each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from fastformers.benchmarking.energy import EnergyMeter, energy_meter
from fastformers.benchmarking.ladder.journal import Journal, Reading
from fastformers.benchmarking.ladder.ways import Contestant
from fastformers.benchmarking.measurement import NOISY
from fastformers.measuring import round_order, spread
from fastformers.tokenization import Text

__all__ = ["LEAST_SECONDS", "Plan", "Taken", "spread_of", "take_rounds"]

#: Of a reading: fifty texts of a small model take a tenth of a second, too little against ends and disturbances.
LEAST_SECONDS = 0.7
#: Of a row in a part of a round, about: what takes longer is cut into pieces.
PART_SECONDS = 5.0

_MOST_PARTS = 8
_WARM_UP_TEXTS = 3
_ALONE_OF_LARGE_BATCHES = 32
Tell: TypeAlias = Callable[[str], None]
Readings: TypeAlias = "dict[str, list[Reading]]"


@dataclass(frozen=True)
class Plan:
    """Which texts each row answers in each round.

    Attributes:
        texts: row to rounds to texts.
        rounds: how many.
        energy: method of the meter.
    """

    texts: Mapping[str, Sequence[Sequence[Text]]]
    rounds: int
    energy: str


@dataclass(frozen=True)
class Taken:
    """What was measured.

    Attributes:
        readings: row to its readings, one a round.
        repeated: all rounds were taken twice because a row spread over 10 %; these are the quieter ones.
    """

    readings: Readings
    repeated: bool


def spread_of(readings: Sequence[Reading]) -> float:
    """Interquartile range of the seconds of a query over the rounds, divided by the median."""
    return spread([reading.seconds_per_query for reading in readings]).relative


def take_rounds(contestants: Mapping[str, Contestant], plan: Plan, journal: Journal, tell: Tell) -> Taken:
    """Takes the rounds that the journal does not hold, and all of them once more when a row spread over 10 %.

    Args:
        contestants: by row, in order.
        plan: texts.
        journal: notes each reading.
        tell: takes a line a round.
    """
    for name, contestant in contestants.items():
        texts = plan.texts[name][0]
        if contestant.in_large_batches:  # a GPU's libraries choose kernels in the first call of every shape
            contestant.timed(texts)
            contestant.alone(texts[:: _stride(texts)])
        else:
            contestant.alone(texts[:_WARM_UP_TEXTS])
    pieces = _pieces(contestants, plan)
    earlier = len(journal.rounds)
    if 0 < earlier < plan.rounds:
        tell(f"{earlier} of {plan.rounds} rounds are there from an earlier run")
    _fill(contestants, plan, pieces, journal, plan.rounds, tell)
    first = _set(journal, contestants, 0, plan.rounds)
    worst = max(first, key=lambda name: spread_of(first[name]))
    if spread_of(first[worst]) <= NOISY:
        return Taken(first, repeated=False)
    there = min(max(0, earlier - plan.rounds), plan.rounds)
    known = f"; {there} of these {plan.rounds} are there from an earlier run" if there else ""
    tell(
        f"the readings of {worst!r} spread over {100 * spread_of(first[worst]):.0f} %: all rounds are taken once more"
        f"{known}"
    )
    _fill(contestants, plan, pieces, journal, 2 * plan.rounds, tell)
    again = _set(journal, contestants, plan.rounds, 2 * plan.rounds)
    return Taken(min(first, again, key=_worst_spread), repeated=True)


def _fill(
    contestants: Mapping[str, Contestant],
    plan: Plan,
    pieces: Mapping[str, int],
    journal: Journal,
    rounds: int,
    tell: Tell,
) -> None:
    begun, found = time.perf_counter(), len(journal.rounds)
    for index in range(found, rounds):
        texts = {name: plan.texts[name][index % plan.rounds] for name in contestants}
        for name, reading in _round(contestants, texts, pieces, plan.energy, index).items():
            journal.note(index, name, reading)
        minutes = (time.perf_counter() - begun) / 60
        left = minutes / (index + 1 - found) * (rounds - index - 1)
        tell(f"round {index + 1} of {rounds}: {minutes:.1f} min, about {left:.1f} min to go")


def _pieces(contestants: Mapping[str, Contestant], plan: Plan) -> dict[str, int]:
    """Into how many pieces each row's texts are cut, powers of two; the largest is the parts of a round."""
    if any(contestant.in_large_batches for contestant in contestants.values()):
        return dict.fromkeys(contestants, 1)
    seconds = {name: _expected_seconds(contestants[name], plan.texts[name][0]) for name in contestants}
    parts = 1
    while max(seconds.values()) > parts * PART_SECONDS and parts < _MOST_PARTS:
        parts *= 2
    found = {}
    for name, whole in seconds.items():
        most = min(parts, min(map(len, plan.texts[name])))
        found[name] = 1
        while 2 * found[name] <= most and whole >= 2 * found[name] * LEAST_SECONDS:
            found[name] *= 2
    return found


def _expected_seconds(contestant: Contestant, texts: Sequence[Text]) -> float:
    """Of all texts, from one of middle length."""
    middle = len(texts) // 2
    return contestant.alone(texts[middle : middle + 1])[0] * len(texts)


def _round(
    contestants: Mapping[str, Contestant],
    texts: Mapping[str, Sequence[Text]],
    pieces: Mapping[str, int],
    energy: str,
    index: int,
) -> dict[str, Reading]:
    """Takes a round: in each part a piece of every row's texts, which short rows answer again in each."""
    parts = max(pieces.values())
    taken: dict[str, list[Reading]] = {name: [] for name in contestants}
    for part in range(parts):
        for name in round_order(list(contestants), index * parts + part):
            count = pieces[name]
            piece = texts[name][part % count :: count]
            least = LEAST_SECONDS if count == 1 else 0.0  # a piece is read once: passes stay whole
            taken[name].append(_read(contestants[name], piece, energy, least))
    return {name: _joined(readings, pieces[name]) for name, readings in taken.items()}


def _joined(readings: Sequence[Reading], pieces: int) -> Reading:
    """One reading of those of a round's parts; seconds of single queries in the order of the texts, pass after pass."""
    alone: list[float] = []
    for first in range(0, len(readings), pieces):
        of_pass = [reading.alone for reading in readings[first : first + pieces]]
        whole = [0.0] * sum(map(len, of_pass))
        for number, values in enumerate(of_pass):
            whole[number::pieces] = values
        alone += whole
    joules = [reading.joules for reading in readings if reading.joules is not None]
    return Reading(
        sum(reading.seconds for reading in readings),
        sum(reading.queries for reading in readings),
        tuple(alone),
        sum(joules) if len(joules) == len(readings) else None,
        ", ".join(dict.fromkeys(reading.energy_method for reading in readings)),
    )


def _read(contestant: Contestant, texts: Sequence[Text], energy: str, least: float) -> Reading:
    contestant.alone(texts[:1])  # the first call after a switch pays for the caches of the row before
    read = _read_load if contestant.under_load else _read_alone
    return read(contestant, texts, energy_meter(energy), least)


def _read_alone(contestant: Contestant, texts: Sequence[Text], meter: EnergyMeter, least: float) -> Reading:
    """Answers the texts one after the other, again and again while the reading is short."""
    alone: list[float] = []
    with meter:
        while not alone or sum(alone) < least:
            alone += contestant.alone(texts)
    return Reading(sum(alone), len(alone), tuple(alone), meter.reading.joules, meter.reading.method)


def _read_load(contestant: Contestant, texts: Sequence[Text], meter: EnergyMeter, least: float) -> Reading:
    """Answers the texts as one stream, several times over where they are few: its ends should not count."""
    given = list(texts)
    if least and not contestant.in_large_batches:
        given *= max(1, ceil(least / contestant.timed(texts)))
    with meter:
        seconds = contestant.timed(given)
    alone = contestant.alone(texts[:: _stride(texts)] if contestant.in_large_batches else texts)
    return Reading(seconds, len(given), tuple(alone), meter.reading.joules, meter.reading.method)


def _stride(texts: Sequence[Text]) -> int:
    """Of large batches only a few texts are also timed alone: alone, all of them take hundreds of times as long."""
    return max(1, len(texts) // _ALONE_OF_LARGE_BATCHES)


def _set(journal: Journal, rows: Mapping[str, Contestant], first: int, end: int) -> Readings:
    return {name: [each[name] for each in journal.rounds[first:end]] for name in rows}


def _worst_spread(readings: Readings) -> float:
    return max(map(spread_of, readings.values()))
