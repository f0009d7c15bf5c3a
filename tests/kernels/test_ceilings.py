# SPDX-License-Identifier: MIT
"""The two ceilings count what their instructions do: with a wrong number every percentage of the tables is wrong."""

from __future__ import annotations

import pytest

from fastformers import kernels

#: INT8 operations for each float32 one. vpdpbusd does 64 multiply-accumulates where a fused multiply-add of the same
#: width does 16, at the same rate. AVX2 widens: 16 in two or three instructions against 8 in one: 1 where one port
#: multiplies integers and two do floats (Zen 1: 40.7 of both), 1.4 (two ports for multiplications, three for additions)
#: to 2 (two and four). Other load on the machine moves a reading, hence 1.6.
RATIOS = {"avx512vnni": (4 / 1.6, 4 * 1.6), "avx2": (1 / 1.6, 2 * 1.6)}


@pytest.mark.parametrize("name", RATIOS)
def test_ratio_of_the_ceilings_is_that_of_the_lanes(name: str) -> None:
    if name not in kernels.available_isas():
        pytest.skip(f"this CPU has no {name}")
    lowest, highest = RATIOS[name]
    assert lowest < kernels.ceiling_gops(name) / kernels.ceiling_gflops(name) < highest


def test_ceiling_of_no_name_is_that_of_the_active_instruction_set() -> None:
    name = kernels.active_isa()
    if name == "reference":
        pytest.skip("reference has no ceiling")
    assert 1 / 1.6 < kernels.ceiling_gflops() / kernels.ceiling_gflops(name) < 1.6
