# SPDX-License-Identifier: MIT
"""Chooses what each input channel is multiplied by before it is quantized, its weights being divided by the same.

A channel with outliers widens the range of every row it occurs in; a small factor moves them into the weights. The
product is unchanged, and the multiplication costs nothing: the quantizing pass multiplies anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastformers.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["equalization_factors", "fitted_factors", "output_importance"]

_LEAST, _MOST = 1e-3, 1e3

#: Last part of the names of projections whose outputs reach the rest of the model only through attention scores.
_SCORE_PROJECTIONS = frozenset(
    {"k", "k_lin", "k_proj", "key", "key_proj", "q", "q_lin", "q_proj", "query", "query_proj"}
)
_SCORE_IMPORTANCE = 0.05
_BLOCK = 256  # rows of a weight that are worked on at once


def equalization_factors(
    input_absmax: Tensor, weight: Tensor | Sequence[Tensor], alpha: float = 0.5
) -> Tensor:
    """Factors from peaks alone: 1 / s with s_j = max|x_j|^alpha / max|w_j|^(1 - alpha).

    Args:
        input_absmax: largest magnitude of each input channel, float32 [K].
        weight: float32 [N, K], or several such weights that read the same input and shall share factors.
        alpha: 0 flattens the weights, 1 the inputs; 0.5 measured best, see bench/fidelity.

    Returns:
        Positive float32 [K] with geometric mean 1 over the channels in use, in [1e-3, 1e3]; 1 for a channel that is
        dead in the input or in all weights.

    Raises:
        ConfigError: alpha is outside [0, 1], or there is no weight.
        ShapeError: a weight does not have K inputs.
        NonFiniteError: a peak is NaN or infinite.

    Example:
        >>> equalization_factors(torch.tensor([1.0, 16.0]), torch.ones(3, 2)).tolist()
        [2.0, 0.5]
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha!r}; allowed: a number from 0 to 1")
    weights = _weights_of(weight, input_absmax)
    peaks = torch.stack([_column_peaks(part.detach()) for part in weights]).amax(dim=0)
    live = (input_absmax > 0) & (peaks > 0)
    logs = (1 - alpha) * peaks.double().log() - alpha * input_absmax.double().log()
    return _normalised(logs, live).float()


def output_importance(name: str) -> float:
    """How much an error in a layer's output matters next to its siblings', from the layer's name.

    Rounding all query and key projections of MiniLM costs a thirtieth of what rounding all its layers costs: their
    errors only shift attention scores a little, before a softmax. Factors shared with the value projection had
    better suit the latter.

    Args:
        name: the layer's name in its model, such as ``"encoder.layer.0.attention.self.query"``.

    Returns:
        0.05 for query and key projections, else 1.
    """
    return _SCORE_IMPORTANCE if name.rsplit(".", 1)[-1] in _SCORE_PROJECTIONS else 1.0


def fitted_factors(
    input_absmax: Tensor,
    sample_inputs: Tensor,
    weight: Tensor | Sequence[Tensor],
    importance: Sequence[float] | None = None,
    steps: int = 40,
) -> Tensor:
    """Factors f that minimise the predicted error of a layer's output on sampled rows, relative to the output.

    Both errors are uniform noise of their quantization steps: a row x contributes range(x f)^2 / 255^2 times
    sum_nj (w_nj / f_j)^2 for its own rounding, and sum_j (x_j f_j)^2 times sum_n (max_j |w_nj / f_j| / 127)^2 for the
    weights'. Each row counts by the inverse of its squared output, because a LayerNorm follows sooner or later and
    few rows are many times larger than the rest. The channels' peaks count as one more row: they stand for the rows
    that the sample missed. Minimised by Adam on log f from :func:`equalization_factors`; deterministic.

    Args:
        input_absmax: largest magnitude of each input channel over all rows, float32 [K].
        sample_inputs: some of the rows, float32 [R, K]; 48 do, 512 are better. Without any, this is
            :func:`equalization_factors`.
        weight: float32 [N, K], or several such weights that read the same input and shall share factors.
        importance: weight of each weight's error, see :func:`output_importance`; None for 1 each.
        steps: of the descent.

    Returns:
        Positive float32 [K], as :func:`equalization_factors`.

    Raises:
        ConfigError: there is no weight, or not one importance for each.
        ShapeError: a weight or the sample does not have K inputs.
        NonFiniteError: a peak is NaN or infinite.

    Example:
        >>> layer = nn.Linear(384, 384)
        >>> fitted_factors(x.abs().amax(0), x[:512], layer.weight).shape
        torch.Size([384])
    """
    weights = [part.detach() for part in _weights_of(weight, input_absmax)]
    start = equalization_factors(input_absmax, weights)
    importance = [1.0] * len(weights) if importance is None else list(importance)
    if len(importance) != len(weights):
        raise ConfigError(
            f"importance has {len(importance)} values for {len(weights)} weights; give one for each"
        )
    if sample_inputs.dim() != 2 or sample_inputs.shape[1] != input_absmax.numel():
        shape = list(sample_inputs.shape)
        raise ShapeError(f"sample_inputs has shape {shape}, must be [R, {input_absmax.numel()}]")
    if sample_inputs.shape[0] == 0:
        return start
    error = _PredictedError(input_absmax, sample_inputs, weights, importance)
    live = (input_absmax > 0) & (error.weight_energy > 0)
    return _normalised(_descend(error, start.log(), live, steps), live)


class _PredictedError:
    """The objective of :func:`fitted_factors` and its gradient, both in terms of log f."""

    def __init__(
        self, absmax: Tensor, samples: Tensor, weights: Sequence[Tensor], importance: Sequence[float]
    ) -> None:
        shares = _row_shares(samples, weights, importance)
        self._rows = torch.cat([samples, absmax[None]])
        self._shares = torch.cat([shares, torch.ones(1, dtype=torch.float32)])
        self._energy = self._shares @ self._rows.square()
        self._weights = list(zip(weights, importance, strict=True))
        # One scratch for all blocks: new ones would lie apart, with what outlives them between: 20 MB more heap.
        self._scratch = torch.empty(_BLOCK, absmax.numel(), dtype=torch.float32)
        self.weight_energy = torch.stack([i * self._column_energy(w) for w, i in self._weights]).sum(dim=0)

    def __call__(self, log_factors: Tensor) -> tuple[float, Tensor]:
        """Returns log of the error, and its gradient [K]."""
        factors = log_factors.exp()
        ranges, ranges_slope = self._ranges(factors)
        steps, steps_slope = self._weight_steps(factors)
        weight_energy = self.weight_energy / factors.square()
        input_energy = self._energy * factors.square()
        rows_part, weights_part = weight_energy.sum(), input_energy.sum()
        error = ranges * rows_part + steps * weights_part
        slope = ranges_slope * rows_part + steps_slope * weights_part
        slope += 2 * (steps * input_energy - ranges * weight_energy)
        return float(error.log()), slope / error

    def _ranges(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over rows of their share times the squared step, and its gradient."""
        scaled = self._rows * factors
        high, at_high = scaled.max(dim=1)
        low, at_low = scaled.min(dim=1)
        high, low = high.clamp_min_(0), low.clamp_max_(0)
        weighted = self._shares * (high - low) / 255**2
        slope = torch.zeros_like(factors)
        slope.scatter_add_(0, at_high, 2 * weighted * high).scatter_add_(0, at_low, -2 * weighted * low)
        return (weighted * (high - low)).sum(), slope

    def _weight_steps(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over output columns of the squared step, and its gradient."""
        total, slope = torch.zeros((), dtype=torch.float32), torch.zeros_like(factors)
        inverse = 1 / factors
        for weight, importance in self._weights:
            for block in weight.split(_BLOCK):
                scaled = torch.mul(block, inverse, out=self._scratch[: len(block)])
                peak, at_peak = scaled.abs_().max(dim=1)
                squared = importance * (peak / 127).square()
                total += squared.sum()
                slope.scatter_add_(0, at_peak, -2 * squared)
        return total, slope

    def _column_energy(self, weight: Tensor) -> Tensor:
        """Sum of squares of each column."""
        blocks = weight.split(_BLOCK)
        return torch.stack(
            [torch.square(block, out=self._scratch[: len(block)]).sum(dim=0) for block in blocks]
        ).sum(dim=0)


def _row_shares(samples: Tensor, weights: Sequence[Tensor], importance: Sequence[float]) -> Tensor:
    """What each row counts [R], 1 on average: the inverse of its squared output, kept from blowing up near 0."""
    energy = torch.zeros(samples.shape[0], dtype=torch.float32)
    for weight, share in zip(weights, importance, strict=True):
        energy += share * (samples @ weight.T).square().sum(dim=1)
    typical = float(energy.median())
    if typical <= 0:
        return torch.ones_like(energy)
    shares = 1 / energy.clamp_min(0.1 * typical)
    return shares / shares.mean()


def _descend(error: _PredictedError, logs: Tensor, live: Tensor, steps: int) -> Tensor:
    """Adam with a cosine schedule from 0.1; returns the best point met. Same end as autograd's, 20 times as fast."""
    first, second = torch.zeros_like(logs), torch.zeros_like(logs)
    best, best_logs = math.inf, logs
    for step in range(steps + 1):
        value, slope = error(logs)
        if value < best:
            best, best_logs = value, logs
        slope = torch.where(live, slope, 0.0)
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope.square()
        rate = 0.05 * (1 + math.cos(math.pi * step / (steps + 1)))
        mean, spread = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.99 ** (step + 1))
        logs = logs - rate * mean / (spread.sqrt() + 1e-8)
    return best_logs


def _column_peaks(weight: Tensor) -> Tensor:
    """Largest magnitude of each column, without a copy of the weight."""
    low, high = torch.aminmax(weight, dim=0)
    return torch.maximum(high, -low)


def _normalised(logs: Tensor, live: Tensor) -> Tensor:
    """exp(logs) with geometric mean 1 over live channels, within the limits; 1 for the others."""
    if bool(live.any()):
        logs = logs - logs[live].mean()
    return torch.where(live, logs.exp().clamp(_LEAST, _MOST), 1.0)


def _weights_of(weight: Tensor | Sequence[Tensor], input_absmax: Tensor) -> list[Tensor]:
    depth = input_absmax.numel()
    weights = [weight] if isinstance(weight, Tensor) else list(weight)
    if not weights:
        raise ConfigError("there is no weight to choose factors for; give at least one")
    for part in weights:
        if part.dim() != 2 or part.shape[1] != depth:
            raise ShapeError(f"weight has shape {list(part.shape)}, the input has {depth} channels")
    if not bool(torch.isfinite(input_absmax).all()):
        raise NonFiniteError("the peaks of the calibration inputs hold NaN or infinity")
    return weights
