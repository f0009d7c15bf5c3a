# SPDX-License-Identifier: MIT
"""Rounding of weights to s8: to the nearest step, or with each column's error compensated by the columns after it.

Both give canonical weights: s8 in [-127, 127] with one scale for each output column. Compensated rounding (GPTQ,
Frantar et al. 2023) minimises the error of the layer's output on the calibration inputs instead of the error of the
weights; it too is free at run time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastformers.errors import CalibrationError, NonFiniteError, ShapeError

__all__ = ["quantize_weight"]

_LARGEST = 127
#: Columns whose errors are passed on together: within a block at once, to the rest of the matrix by one product.
_BLOCK = 128
_TINY = torch.finfo(torch.float32).tiny


def quantize_weight(
    weight: Tensor,
    factors: Tensor | None = None,
    rounding: Literal["nearest", "compensated"] = "nearest",
    hessian: Tensor | None = None,
    damping: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """Rounds a weight to canonical s8.

    Args:
        weight: float32 [N, K].
        factors: float32 [K], the equalisation of the input; the weight is divided by them first.
        rounding: "nearest", or "compensated" with ``hessian``.
        hessian: float32 [K, K], X^T X of the calibration inputs before equalisation.
        damping: added to the Hessian's diagonal, as a share of its mean.

    Returns:
        (int8 [N, K] in [-127, 127], float32 scales [N], 0 for a column of zeros).

    Raises:
        ShapeError, NonFiniteError: a weight, factor or Hessian that does not fit.
        CalibrationError: "compensated" without a Hessian.

    Example:
        >>> s8, scales = quantize_weight(linear.weight, factors, "compensated", observation.hessian)
    """
    if weight.ndim != 2:
        raise ShapeError(f"weight must have shape [N, K], got {list(weight.shape)}")
    equalized = weight.detach().float()
    if factors is not None:
        equalized = equalized / factors
    if not bool(torch.isfinite(equalized).all()):
        raise NonFiniteError("weight (divided by its equalisation factors) holds NaN or infinity")
    scales = equalized.abs().amax(1) / _LARGEST
    scales = torch.where(scales >= _TINY, scales, torch.zeros_like(scales))
    steps = torch.where(scales > 0, scales, torch.ones_like(scales))
    if rounding == "nearest":
        return _round(equalized, steps, scales), scales
    if hessian is None:
        raise CalibrationError('rounding="compensated" needs the Hessian of the calibration inputs')
    depth = weight.shape[1]
    if hessian.shape != (depth, depth):
        raise ShapeError(f"hessian has shape {list(hessian.shape)}, expected [{depth}, {depth}]")
    curvature = hessian.double()
    if factors is not None:
        curvature = curvature * factors.double()[:, None] * factors.double()
    return _compensate(equalized, steps, scales, curvature, damping), scales


def _round(weight: Tensor, steps: Tensor, scales: Tensor) -> Tensor:
    rounded = torch.round(weight / steps[:, None]).clamp_(-_LARGEST, _LARGEST)
    return torch.where(scales[:, None] > 0, rounded, torch.zeros_like(rounded)).to(torch.int8)


def _inverse_factor(curvature: Tensor, damping: float) -> Tensor:
    """The upper Cholesky factor of the inverse Hessian; damped until it exists."""
    diagonal = torch.diagonal(curvature)
    diagonal[diagonal == 0] = 1
    mean = diagonal.mean()
    for attempt in range(8):
        damped = curvature + torch.eye(len(curvature), dtype=curvature.dtype) * (mean * damping * 10**attempt)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if int(failed) == 0:
            inverse: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(factor), upper=True)
            return inverse
    raise CalibrationError("the calibration inputs are degenerate: no damping makes their Hessian invertible")


def _compensate(weight: Tensor, steps: Tensor, scales: Tensor, curvature: Tensor, damping: float) -> Tensor:
    """Rounds column after column, most curved first; what a column loses is made up for by those still to come."""
    order = torch.argsort(torch.diagonal(curvature), descending=True)
    upper = _inverse_factor(curvature[order][:, order].clone(), damping).float()
    left = weight[:, order].clone()
    rounded = torch.empty_like(left)
    depth = left.shape[1]
    for start in range(0, depth, _BLOCK):
        stop = min(start + _BLOCK, depth)
        errors = torch.empty(len(left), stop - start)
        for column in range(start, stop):
            values = left[:, column]
            rounded[:, column] = torch.round(values / steps).clamp_(-_LARGEST, _LARGEST)
            error = (values - rounded[:, column] * steps) / upper[column, column]
            left[:, column + 1 : stop] -= error[:, None] * upper[column, column + 1 : stop]
            errors[:, column - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    result = torch.empty_like(rounded)
    result[:, order] = rounded
    return torch.where(scales[:, None] > 0, result, torch.zeros_like(result)).to(torch.int8)
