# SPDX-License-Identifier: MIT
"""Equalisation: moves outlier channels from the activations into the weights, where they cost less.

A layer computes sum_k x_k w_nk. With factors f_k, (x_k f_k)(w_nk / f_k) is the same, but the largest channels of x are
now smaller, so that the 255 steps of a row are finer. It costs nothing at run time: the quantizing pass multiplies
anyway. Source: SmoothQuant (Xiao et al. 2023), with s_k = 1 / f_k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastformers.errors import NonFiniteError, ShapeError

__all__ = ["equalization_factors"]

#: Factors stay within this range, so that no channel is moved so far that float32 products overflow or vanish.
_LIMIT = 1e3


def equalization_factors(
    input_absmax: Tensor, weight: Tensor | Sequence[Tensor], alpha: float = 0.5
) -> Tensor:
    """Factors that the inputs are multiplied by; the weights are divided by them before rounding.

    s_k = max|x_k|^alpha / max|w_k|^(1 - alpha), normalised to a geometric mean of 1, and f_k = 1 / s_k.

    Args:
        input_absmax: float32 [K], largest magnitude of each input channel on the calibration texts.
        weight: float32 [N, K], or all the weights that share the input (query, key and value).
        alpha: how much of the range goes to the weights, in [0, 1].

    Returns:
        float32 [K], positive; 1 for a channel that is dead in the input or in all weights.

    Raises:
        ShapeError: a weight with another K.
        NonFiniteError: an input range that is NaN or infinite.

    Example:
        >>> factors = equalization_factors(observation.input_absmax, linear.weight)
    """
    weights = [weight] if isinstance(weight, Tensor) else list(weight)
    depth = input_absmax.numel()
    for matrix in weights:
        if matrix.ndim != 2 or matrix.shape[1] != depth:
            raise ShapeError(f"weight has shape {list(matrix.shape)}, the input has {depth} channels")
    if not bool(torch.isfinite(input_absmax).all()):
        raise NonFiniteError("the range of the calibration inputs holds NaN or infinity")
    weight_absmax = torch.stack([matrix.detach().abs().amax(0) for matrix in weights]).amax(0).double()
    inputs = input_absmax.double()
    alive = (inputs > 0) & (weight_absmax > 0)
    factors = torch.ones(depth, dtype=torch.float64)
    if bool(alive.any()):
        chosen = weight_absmax[alive] ** (1 - alpha) / inputs[alive] ** alpha
        factors[alive] = (chosen / chosen.log().mean().exp()).clamp(1 / _LIMIT, _LIMIT)
    return factors.float()
