# SPDX-License-Identifier: MIT
"""The forms of a ladder: which rows there are, and how they are measured in words, by the device they are for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastformers.benchmarking.ladder.gpu_rungs import gpu_comparisons_of, gpu_rungs_of
from fastformers.benchmarking.ladder.rounds import LEAST_SECONDS
from fastformers.benchmarking.ladder.rungs import Rung, comparisons_of, rungs_of
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import Systems

__all__ = ["FORMS", "Form"]

_ROUNDS = (
    "{rounds} rounds; each runs every row over its share of the texts, all shares with the same mix of lengths, the "
    "order of the rows turned each round, {warm_up}. Speed-ups are medians of the ratio inside a round. Latency is of "
    "{latency} with nothing else in flight."
)

_WARM_UP = (
    "the first call after each switch not counted, "
    f"shares of less than {LEAST_SECONDS:g} s answered several times over, long ones in pieces with all rows between"
)


@dataclass(frozen=True)
class Form:
    """What a ladder consists of.

    Attributes:
        rungs: lists its rows.
        comparisons: lists the rows beside it.
        method: how it is measured; ``{batch}``, ``{s}`` and ``{rounds}`` are filled in.
        published: its rows are those of the paper's Table 3, in its order.
    """

    rungs: Callable[[Systems, LadderSettings, int], list[Rung]]
    comparisons: Callable[[Systems, LadderSettings, Sequence[Rung]], list[Rung]]
    method: str
    published: bool


#: Device -> form.
FORMS: dict[str, Form] = {
    "cpu": Form(
        rungs_of,
        comparisons_of,
        "From text to answer, tokenizing included, in requests of {batch} text{s}. "
        + _ROUNDS.replace("{warm_up}", _WARM_UP).replace("{latency}", "a single query"),
        published=True,
    ),
    "cuda": Form(
        gpu_rungs_of,
        gpu_comparisons_of,
        "From text to answer, tokenizing included, in batches of {batch} text{s}: given to the device one after the "
        "other without waiting, until the last answer is back. "
        + _ROUNDS.replace("{warm_up}", "every row once as a whole before the first").replace(
            "{latency}", "single queries, some of each round,"
        ),
        published=False,
    ),
}
