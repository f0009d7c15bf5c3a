# SPDX-License-Identifier: MIT
"""How much noise INT8 adds to one layer, and which layers to keep float when that is too much."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from fastformers.modules import PackedLinear
from fastformers.quantization.report import LayerReport

__all__ = ["least_faithful", "sqnr_db"]


def sqnr_db(weight: Tensor, bias: Tensor | None, packed: PackedLinear, inputs: Tensor) -> float | None:
    """Signal to quantization noise of a layer's output before its activation, in decibels.

    Args:
        weight: float32 [N, K], the original.
        bias: float32 [N] or None.
        packed: the same layer packed.
        inputs: float32 [R, K], what the layer sees.

    Returns:
        10 log10(sum y^2 / sum (y - y_int8)^2); None where there is no input, no signal or no noise.
    """
    if inputs.shape[0] == 0:
        return None
    activation, packed.activation = packed.activation, None
    try:
        with torch.no_grad():
            exact = F.linear(inputs, weight, bias)
            noise = float((packed(inputs) - exact).double().square().sum())
            signal = float(exact.double().square().sum())
    finally:
        packed.activation = activation
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def least_faithful(layers: Iterable[LayerReport], count: int = 5) -> list[str]:
    """Names of the INT8 layers with the lowest SQNR, worst first: the first to exclude."""
    measured = [
        (layer.sqnr_db, layer.name)
        for layer in layers
        if layer.decision == "int8" and layer.sqnr_db is not None
    ]
    return [name for _, name in sorted(measured)[:count]]
