# SPDX-License-Identifier: MIT
"""Writes csrc/kernels/gelu_tables.h: the coefficients of the piecewise quintics behind both GELUs.

GELU(x) = max(x, 0) - h(|x|) with h(t) = t * P(X > t) for the erf form (and its tanh twin). h is smooth, small (at most
0.17) and vanishes quickly, so 16 segments of width 3/8 with a quintic each reach it to a few 1e-8, which is below the
float32 rounding of the result for |x| > 0.25. Segment i is centred at 3/8 i; the first has c0 = 0 and c1 = 1/2 exactly,
so that tiny inputs keep their relative accuracy. 16, because one vpermps looks up 16 entries; vpermi2ps, which looks up
32, costs twice as much on Zen 4 (9 cycles a vector in all instead of 15).

usage: python tools/make_gelu_tables.py > csrc/kernels/gelu_tables.h
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

SEGMENTS = 16
WIDTH = 3 / 8
DEGREE = 5


def erf_form(t: float) -> float:
    """Return t * (1 - Phi(t)), the part of GELU that is not the ramp."""
    return 0.5 * t * math.erfc(t / math.sqrt(2))


def tanh_form(t: float) -> float:
    """The same for the tanh approximation of Hendrycks and Gimpel."""
    inner = math.sqrt(2 / math.pi) * (t + 0.044715 * t**3)
    return t / (1 + math.exp(2 * inner))


def fit_segment(function: Callable[[float], float], index: int) -> list[float]:
    """Weighted least squares on Chebyshev nodes: near the minimax quintic for a function this smooth."""
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
    print(
        "// Coefficients of GELU(x) = max(x, 0) - h(|x|): h is a quintic on each of 16 segments of width 3/8."
    )
    print("// Written by tools/make_gelu_tables.py ; checked by tests/kernels/test_gelu_tables.py.")
    print("// Shared by every instruction set, so that all of them give the same bits.")
    print("#pragma once\n\nnamespace fastformers {\n")
    print("// clang-format off")
    print(f"constexpr float kGeluSegmentWidth = {WIDTH}f;")
    print("constexpr float kGeluSegmentsPerUnit = 2.66666675f;")
    print("constexpr float kGeluLimit = 5.81249905f;  // beyond it h is taken at the limit, where it is 2e-8")
    print(table("kGeluErfTable", erf_form))
    print(table("kGeluTanhTable", tanh_form))
    print("// clang-format on\n\n}  // namespace fastformers")


if __name__ == "__main__":
    main()
