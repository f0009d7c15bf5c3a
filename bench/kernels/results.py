# SPDX-License-Identifier: MIT
"""What the readings of a cell mean: percentages of the ceiling, ratios inside a round, figures to reach."""

from __future__ import annotations

from typing import Any

from fastformers.measuring import Spread, paired_ratio, spread

Cell = dict[str, Any]

OURS, OURS_AVX2 = "fastformers", "fastformers_avx2"
CAPPED_PEER = "torch_fp32_avx2"
NOISE = 0.03
MEAN_RATIO_TO_REACH = 1.35
SCALING_TO_REACH = 1.85
AVX2_RATIO_TO_REACH = 1.15
ONE_ROW_PERCENT_TO_REACH = 44.0
ONE_ROW_BANDWIDTH_TO_REACH = 70.0

_MANY_ROWS = {"base": 94.0, "minilm": 90.0, "tinybert": 85.0, "pruned": 85.0}
_MANY_ROWS_OF_SHAPE = {(384, 384): 88.0, (312, 208): 81.0}
_FEW_ROWS = {"base": 88.0, "minilm": 82.0, "tinybert": 79.0, "pruned": 79.0}


def percent_to_reach(cell: Cell) -> float:
    """Percentage of the VNNI ceiling that one thread should reach in a cell."""
    if cell["M"] == 1:
        return ONE_ROW_PERCENT_TO_REACH
    if cell["M"] < 64:
        return _FEW_ROWS[cell["group"]]
    return _MANY_ROWS_OF_SHAPE.get((cell["N"], cell["K"]), _MANY_ROWS[cell["group"]])


def operations(cell: Cell) -> int:
    """Multiplications and additions of one call."""
    return int(2 * cell["M"] * cell["N"] * cell["K"])


def seconds(cell: Cell, reading: str) -> list[float]:
    """Seconds per call, one per round; empty when the reading was not taken."""
    return [entry["seconds"] for entry in cell["readings"].get(reading, [])]


def percent_of_ceiling(cell: Cell, name: str = OURS) -> Spread:
    """Share of the ceiling that the loop in the core reached, each round against its own ceiling."""
    rounds = cell["readings"][f"{name}/kernel"]
    return spread(
        [100 * operations(cell) / entry["seconds"] / 1e9 / entry["ceiling_gops"] for entry in rounds]
    )


def ceiling_gops(cell: Cell, name: str = OURS) -> Spread:
    """Measured ceiling in 10^9 operations per second."""
    return spread([entry["ceiling_gops"] for entry in cell["readings"][f"{name}/kernel"]])


def percent_of_bandwidth(cell: Cell) -> Spread | None:
    """One row only: share of the speed at which the N x K bytes of the weights can be read."""
    rounds = cell["readings"][f"{OURS}/kernel"]
    if any("read_gbps" not in entry for entry in rounds):
        return None
    weight_bytes = cell["N"] * cell["K"]
    return spread([100 * weight_bytes / entry["seconds"] / 1e9 / entry["read_gbps"] for entry in rounds])


def peers(cell: Cell) -> list[str]:
    """Contestants of a cell other than ours, without the pair that is kept from using AVX-512."""
    return [
        name for name in cell["readings"] if "/" not in name and name not in (OURS, OURS_AVX2, CAPPED_PEER)
    ]


def ratio_to(cell: Cell, peer: str, ours: str = OURS) -> Spread:
    """How many times faster our call from Python is than a contestant's, round by round."""
    return paired_ratio(seconds(cell, peer), seconds(cell, ours))


def best_peer(cell: Cell) -> str | None:
    """The contestant that is closest to us or ahead of us in a cell; None when none was measured."""
    return min(peers(cell), key=lambda peer: ratio_to(cell, peer).median, default=None)


def scaling(cell: Cell) -> Spread | None:
    """How many times faster the core is on the cell's threads than on one; None when not measured."""
    one_thread = seconds(cell, f"{OURS}/kernel_one_thread")
    return paired_ratio(one_thread, seconds(cell, f"{OURS}/kernel")) if one_thread else None
