"""Writes csrc/kernels/gelu_tables.h: the coefficients of the piecewise quartics behind both GELUs.

GELU(x) = max(x, 0) - h(|x|) with h(t) = t * P(X > t) for the erf form (and its tanh twin). h is smooth, small
(at most 0.17) and vanishes quickly, so 32 segments of width 3/16 with a quartic each reach it to a few 1e-8,
which is below the float32 rounding of the result for |x| > 0.25. Segment i is centred at 3/16 i; the first has
c0 = 0 and c1 = 1/2 exactly, so that tiny inputs keep their relative accuracy.

usage: python tools/make_gelu_tables.py > csrc/kernels/gelu_tables.h
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

SEGMENTS = 32
WIDTH = 3 / 16
DEGREE = 4


def erf_form(t: float) -> float:
    """t * (1 - Phi(t)), the part of GELU that is not the ramp."""
    return 0.5 * t * math.erfc(t / math.sqrt(2))


def tanh_form(t: float) -> float:
    """The same for the tanh approximation of Hendrycks and Gimpel."""
    inner = math.sqrt(2 / math.pi) * (t + 0.044715 * t**3)
    return t / (1 + math.exp(2 * inner))


def fit_segment(function: Callable[[float], float], index: int) -> list[float]:
    """Weighted least squares on Chebyshev nodes: near the minimax quartic for a function this smooth."""
    centre = index * WIDTH
    nodes = np.cos((np.arange(200) + 0.5) * np.pi / 200) * WIDTH / 2
    if index == 0:
        nodes = (nodes + WIDTH / 2) / 2
    values = np.array([function(centre + u) for u in nodes])
    fixed = [0.0, 0.5] if index == 0 else []
    target = values - sum(c * nodes**p for p, c in enumerate(fixed))
    powers = np.arange(len(fixed), DEGREE + 1)
    weights = 1 / np.sqrt(1 - np.clip(nodes / (WIDTH / 2), -0.999999, 0.999999) ** 2)
    scaled = (nodes[:, None] / WIDTH) ** powers
    solution = np.linalg.lstsq(scaled * weights[:, None], target * weights, rcond=None)[0]
    return fixed + list(solution / WIDTH**powers)


def table(name: str, function: Callable[[float], float]) -> str:
    """One C array [DEGREE + 1][SEGMENTS]."""
    rows = np.array([fit_segment(function, i) for i in range(SEGMENTS)]).T.astype(np.float32)
    lines = [f"alignas(64) constexpr float {name}[{DEGREE + 1}][{SEGMENTS}] = {{"]
    for coefficients in rows:
        body = ", ".join(f"{float(c):.9e}f" for c in coefficients)
        lines.append(f"    {{{body}}},")
    return "\n".join([*lines, "};"])


def main() -> None:
    """Print the header."""
    print("// SPDX-License-Identifier: MIT")
    print("// Coefficients of GELU(x) = max(x, 0) - h(|x|): h is a quartic on each of 32 segments of width 3/16.")
    print("// Written by tools/make_gelu_tables.py (which says how they are fitted); checked by tests/test_kernels.py.")
    print("// Shared by every instruction set, so that all of them give the same bits.")
    print("#pragma once\n\nnamespace fastformers {\n")
    print("// clang-format off")
    print(f"constexpr float kGeluSegmentWidth = {WIDTH}f;")
    print("constexpr float kGeluSegmentsPerUnit = 5.33333349f;")
    print("constexpr float kGeluLimit = 5.90624905f;  // beyond it h is taken at the limit, where it is below 2e-8")
    print("constexpr float kGeluRoundingMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer")
    print(table("kGeluErfTable", erf_form))
    print(table("kGeluTanhTable", tanh_form))
    print("// clang-format on\n\n}  // namespace fastformers")


if __name__ == "__main__":
    main()
