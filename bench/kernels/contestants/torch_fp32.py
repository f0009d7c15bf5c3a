# SPDX-License-Identifier: MIT
"""torch float32: what a user has before any quantization. Linear, then ReLU in place: no second array."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from bench.kernels.cases import Case


def prepare(case: Case, threads: int) -> Callable[[], object]:
    """Returns one call of the float32 layer."""
    torch.set_num_threads(threads)
    x, weight, bias = (torch.from_numpy(array) for array in (case.x, case.weight, case.bias))
    return lambda: functional.linear(x, weight, bias).relu_()
