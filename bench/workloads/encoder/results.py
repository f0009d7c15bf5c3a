# SPDX-License-Identifier: MIT
"""What the readings of a cell mean: milliseconds, ratios inside a round, percent of the limit, figures to reach."""

from __future__ import annotations

from typing import Any

from bench.workloads.encoder.contestants import ENTRIES
from bench.workloads.encoder.shapes import shape_named
from fastformers.benchmarking.engines import OURS
from fastformers.measuring import Spread, paired_ratio, spread

Cell = dict[str, Any]

MEAN_RATIO_TO_REACH = 1.5
DYNAMIC_RATIO_TO_REACH = 1.5
RATIO_TO_REACH, LONGEST_FOR_RATIO = 1.2, 256
NEVER_SLOWER = 1.0
COSINE_TO_REACH, COSINE_MODEL = 0.999, "bert-base"
DYNAMIC = "dynamic INT8"

_KINDS = {entry.name: entry.kind for entry in ENTRIES}
_GIGA = 1e9


def seconds(cell: Cell, name: str) -> list[float]:
    """Seconds per call, one per round."""
    return [entry["seconds"] for entry in cell["readings"][name]]


def milliseconds(cell: Cell, name: str) -> Spread:
    """Milliseconds per call over the rounds."""
    return spread(seconds(cell, name)).scaled(1e3)


def kind_of(name: str) -> str:
    """Kind of numbers a contestant computes with, ``"ours"`` for ours."""
    return _KINDS[name]


def peers(cell: Cell, kind: str | None = None) -> list[str]:
    """Contestants of a cell that are not ours; of one kind when it is given."""
    return [name for name in cell["readings"] if kind_of(name) != "ours" and kind in (None, kind_of(name))]


def ratio_to(cell: Cell, peer: str) -> Spread:
    """How many times faster our call is than a contestant's, round by round."""
    return paired_ratio(seconds(cell, peer), seconds(cell, OURS.name))


def best_peer(cell: Cell, kind: str | None = None) -> str | None:
    """The contestant closest to us or ahead of us in a cell; None when none was measured, or ours was not."""
    if OURS.name not in cell["readings"]:
        return None
    return min(peers(cell, kind), key=lambda peer: ratio_to(cell, peer).median, default=None)


def percent_of_limit(cell: Cell) -> Spread:
    """The limit's time as a percentage of ours, each round against its own ceilings.

    The limit: linear layers of the encoder at the INT8 ceiling, products of attention at the float32 ceiling, real
    tokens only, all rows of all layers, nothing else. Last-layer pruning and INT8 attention can pass 100.
    """
    shape, lengths = shape_named(cell["model"]), cell["lengths"]
    linear, attention = shape.linear_operations(lengths), shape.attention_operations(lengths)
    shares = []
    for entry in cell["readings"][OURS.name]:
        limit = (linear / entry["ceiling_gops"] + attention / entry["ceiling_gflops"]) / _GIGA
        shares.append(100 * limit / entry["seconds"])
    return spread(shares)


def ceiling(cell: Cell, name: str) -> float:
    """Median of ``ceiling_gops`` or ``ceiling_gflops`` over the rounds."""
    return spread([entry[name] for entry in cell["readings"][OURS.name]]).median


def ratio_to_reach(cell: Cell) -> float:
    """Times faster than the best other engine."""
    return RATIO_TO_REACH if max(cell["lengths"]) <= LONGEST_FOR_RATIO else NEVER_SLOWER


def percent_to_reach(cell: Cell) -> float | None:
    """Percentage of the limit with one thread, by the mean length of the batch; None where no figure is set."""
    if cell["threads"] > 1:
        return None
    mean_length = sum(cell["lengths"]) / len(cell["lengths"])
    if cell["rows"] == "all":
        return 88.0 if mean_length >= 64 else None
    if mean_length >= 256:
        return 108.0
    return 95.0 if mean_length >= 64 else 80.0
