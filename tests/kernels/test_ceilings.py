# SPDX-License-Identifier: MIT
"""The two ceilings count what their instructions do: with a wrong number every percentage of the tables is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastformers import kernels
from fastformers.measuring import interleave

#: INT8 operations for each float32 one. vpdpbusd does 64 multiply-accumulates where a fused multiply-add of the same
#: width does 16, at the same rate: 3.84 measured on Ice Lake, where a loop with copies of registers in it had 2.85.
#: AVX2 widens: 16 in two or three instructions against 8 in one: 1 where one port multiplies integers and two do floats
#: (Zen 1: 40.7 of both), 1.4 (two ports for multiplications, three for additions) to 2 (two and four).
RATIOS = {"avx512vnni": (4 / 1.3, 4 * 1.3), "avx2": (1 / 1.3, 2 * 1.3)}


def ceilings(readings: dict[str, Callable[[int], float]]) -> dict[str, float]:
    """The highest of 10 readings each, taken by turns: other load on the machine only ever lowers one."""
    return {name: max(taken) for name, taken in interleave(readings, 10).items()}


@pytest.mark.parametrize("name", RATIOS)
def test_ratio_of_the_ceilings_is_that_of_the_lanes(name: str) -> None:
    if name not in kernels.available_isas():
        pytest.skip(f"this CPU has no {name}")
    found = ceilings(
        {"int8": lambda _: kernels.ceiling_gops(name), "float32": lambda _: kernels.ceiling_gflops(name)}
    )
    lowest, highest = RATIOS[name]
    assert lowest < found["int8"] / found["float32"] < highest


def test_ceiling_of_no_name_is_that_of_the_active_instruction_set() -> None:
    name = kernels.active_isa()
    if name == "reference":
        pytest.skip("reference has no ceiling")
    found = ceilings(
        {"active": lambda _: kernels.ceiling_gflops(), "named": lambda _: kernels.ceiling_gflops(name)}
    )
    assert 1 / 1.3 < found["active"] / found["named"] < 1.3
