# SPDX-License-Identifier: MIT
"""How large packed weights are on each instruction set."""

from __future__ import annotations

from fastformers import kernels

_BYTES_OF_A_WEIGHT = {"avx512vnni": 1, "avx2": 2, "reference": 1}  # AVX2 multiplies 16-bit weights


def share_of_float32(isa: str | None = None) -> float:
    """Largest share of their float32 bytes that packed weights may take, with 1 % for scales and sums of columns."""
    return _BYTES_OF_A_WEIGHT[isa or kernels.active_isa()] / 4 + 0.01
