# SPDX-License-Identifier: MIT
"""Rounds float weights to s8 in [-127, 127] with one scale per output column, plainly or with compensated errors.

Compensated rounding (GPTQ) takes the inputs in turn, the most energetic first; the error each makes in the layer's
output is made up for by the weights that are still to be rounded. With H = X^T X of the layer's inputs and
H = L L^T, the target of input j is w_j + sum over the inputs i rounded before of (w_i - q_i) L_ij / L_jj.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from fastformers import kernels
from fastformers.config import Rounding
from fastformers.errors import CalibrationError, ConfigError, NonFiniteError, ShapeError

__all__ = ["quantize_weight"]

_BLOCK = 128


def quantize_weight(
    weight: Tensor,
    factors: Tensor | None = None,
    rounding: Rounding = "nearest",
    hessian: Tensor | None = None,
    damping: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Rounds a layer's weights after dividing them by the factors that its inputs will be multiplied by.

    Args:
        weight: float32 [N, K].
        factors: positive float32 [K], or None for none.
        rounding: ``"nearest"``, or ``"compensated"``, which needs ``hessian``.
        hessian: X^T X of the inputs X before the factors, float32 [K, K]; it is not changed. All zero (a layer that
            saw nothing) means nearest.
        damping: added to the diagonal of the equalised Hessian, as a share of its mean: guards against fitting the
            calibration texts too closely. 0.1 kept the worst text nearer than less did, with the same mean, see
            bench/fidelity.

    Returns:
        (int8 [N, K] in [-127, 127], float32 scales [N]); weight / factors is about the first times the second.

    Raises:
        ConfigError: the rounding is unknown.
        CalibrationError: compensated without a Hessian.
        ShapeError: a tensor's shape does not fit the weight's.
        NonFiniteError: a weight or the Hessian holds NaN or infinity.

    Example:
        >>> rounded, scales = quantize_weight(torch.tensor([[0.5, -1.0]]))
        >>> rounded.tolist()
        [[64, -127]]
    """
    _check(weight, factors, rounding, hessian)
    scaled = weight.detach() if factors is None else weight.detach() / factors
    rounded_array, scales_array = kernels.quantize_weight(scaled)
    rounded, scales = torch.from_numpy(rounded_array), torch.from_numpy(scales_array)
    if rounding == "nearest" or hessian is None or not bool(hessian.diagonal().any()):
        return rounded, scales
    del rounded, rounded_array
    order = _order(hessian, factors)
    lower = _cholesky(_equalized(hessian, factors, order), damping)
    return _compensated(scaled, scales, lower, order), scales


def _check(weight: Tensor, factors: Tensor | None, rounding: str, hessian: Tensor | None) -> None:
    if rounding not in get_args(Rounding):
        allowed = ", ".join(map(repr, get_args(Rounding)))
        raise ConfigError(f"rounding is {rounding!r}; allowed: {allowed}")
    if rounding == "compensated" and hessian is None:
        raise CalibrationError(
            "rounding='compensated' needs the Hessian of the inputs: observe with want_hessian=True"
        )
    if weight.dim() != 2:
        raise ShapeError(f"weight has shape {list(weight.shape)}, expected a matrix [N, K]")
    depth = weight.shape[1]
    if factors is not None and factors.shape != (depth,):
        raise ShapeError(f"factors has shape {list(factors.shape)}, expected [{depth}]")
    if hessian is None:
        return
    if hessian.shape != (depth, depth):
        raise ShapeError(f"hessian has shape {list(hessian.shape)}, expected [{depth}, {depth}]")
    if not bool(torch.isfinite(hessian.sum())):
        raise NonFiniteError(
            "hessian holds NaN or infinity: calibrate on inputs that the float model can take"
        )


def _order(hessian: Tensor, factors: Tensor | None) -> Tensor:
    """Inputs by rising energy: the last is rounded first."""
    energy = hessian.diagonal() if factors is None else hessian.diagonal() * factors.square()
    return torch.argsort(energy, stable=True)


def _equalized(hessian: Tensor, factors: Tensor | None, order: Tensor) -> Tensor:
    """The Hessian of the inputs times their factors, reordered; a new tensor."""
    result = hessian[order[:, None], order[None, :]]
    if factors is not None:
        ordered = factors[order]
        result.mul_(ordered[:, None]).mul_(ordered)
    return result


def _cholesky(hessian: Tensor, damping: float) -> Tensor:
    """L with unit diagonal such that hessian + damping = L D L^T; hessian is used up.

    Float32 gave the same weights' fidelity as float64. Should it not do, the damping is raised tenfold until it does.
    """
    diagonal = hessian.diagonal()
    added = max(damping, 1e-6) * float(diagonal.mean())
    lower: Tensor
    while True:
        diagonal.add_(added)
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not int(failed):
            lower.div_(lower.diagonal().clone())
            return lower
        added *= 10


def _compensated(scaled: Tensor, scales: Tensor, lower: Tensor, order: Tensor) -> Tensor:
    """Rounds weights [N, K] input by input, from the last of ``order`` to the first, in blocks.

    ``rest`` is [K, N], so that an input's weights lie together: float weights where still to be rounded, rounding
    errors w - q where done.
    """
    columns, depth = scaled.shape
    rest = scaled.T[order]
    steps = torch.where(scales > 0, scales, torch.ones_like(scales))
    rounded = torch.empty(depth, columns, dtype=torch.int8)
    for end in range(depth, 0, -_BLOCK):
        begin = max(0, end - _BLOCK)
        targets = torch.addmm(rest[begin:end], lower[end:, begin:end].T, rest[end:])
        for row in range(end - 1, begin - 1, -1):
            target = targets[row - begin] + lower[row + 1 : end, row] @ rest[row + 1 : end]
            level = torch.round(target / steps).clamp_(-127, 127)
            rounded[row] = level.to(torch.int8)
            rest[row] -= level * steps
    result = torch.empty(columns, depth, dtype=torch.int8)
    result[:, order] = rounded.T
    return result
