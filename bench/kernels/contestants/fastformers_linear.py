# SPDX-License-Identifier: MIT
"""fastformers: the packed INT8 layer called from Python, and the readings that only our own core can give.

``prepare`` is the contestant. ``kernel_reading`` times the same layer in a loop inside the core (no Python
between two calls), which is what the percentage of the ceiling is about; the ceiling is read right before and
after it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from bench.kernels.cases import Case, Shape, weights
from fastformers import _core, kernels
from fastformers.measuring import median_of_slices

RELU = 1  # the core's code of the activation
CEILING_SECONDS = 0.004


@lru_cache(maxsize=1)
def packed(shape: Shape) -> kernels.PackedWeight:
    """Packs the weights of a shape for the instruction set in use."""
    return kernels.pack(weights(shape)[0])


def prepare(case: Case, threads: int) -> Callable[[], object]:
    """Returns one call of the layer, numpy in and numpy out."""
    weight, x, bias = packed(case.shape), case.x, case.bias
    return lambda: kernels.linear(x, weight, bias, activation="relu", threads=threads)


def kernel_reading(case: Case, threads: int, seconds: float) -> dict[str, float]:
    """Times a loop inside the core, with the ceiling of the instruction set on both sides of it.

    Returns:
        ``seconds`` of one call; ``ceiling_gops``, the mean of the two readings, in 10^9 operations per
        second; and for one row ``read_gbps``, the speed in 10^9 bytes per second at which as many bytes as
        the packed weights have can be read again and again.
    """
    weight = packed(case.shape)
    time_calls = _loop_in_core(case, weight, threads)
    before = kernels.ceiling_gops(threads=threads, seconds=CEILING_SECONDS)
    reading = {"seconds": median_of_slices(time_calls, seconds)}
    after = kernels.ceiling_gops(threads=threads, seconds=CEILING_SECONDS)
    reading["ceiling_gops"] = (before + after) / 2
    if case.rows == 1:
        reading["read_gbps"] = kernels.read_bandwidth(weight.nbytes, seconds=CEILING_SECONDS)
    return reading


def _loop_in_core(case: Case, weight: kernels.PackedWeight, threads: int) -> Callable[[int], float]:
    """Returns a function: number of calls -> mean seconds of one call, timed inside the core."""
    out = np.empty((case.rows, case.shape.columns), np.float32)

    def time_calls(calls: int) -> float:
        return _core.time_linear(
            case.x.ctypes.data, case.rows, case.shape.depth, weight, case.bias.ctypes.data,
            out.ctypes.data, case.shape.columns, RELU, threads, calls,
        )  # fmt: skip

    return time_calls
