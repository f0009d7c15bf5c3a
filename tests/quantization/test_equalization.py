# SPDX-License-Identifier: MIT
"""Equalisation factors: what they do to ranges, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastformers.errors import ConfigError, NonFiniteError, ShapeError
from fastformers.quantization.equalization import equalization_factors, fitted_factors, output_importance
from fastformers.quantization.rounding import quantize_weight


def relative_error(x: Tensor, weight: Tensor, factors: Tensor) -> float:
    """Mean over rows of the squared INT8 error by the squared output: u8 rows with zero point, s8 weights."""
    scaled = x * factors
    low, high = scaled.amin(1, keepdim=True).clamp(max=0), scaled.amax(1, keepdim=True).clamp(min=0)
    step = (high - low) / 255
    zero = torch.round(-low / step)
    rows = (torch.clamp(torch.round(scaled / step + zero), 0, 255) - zero) * step
    s8, scales = quantize_weight(weight, factors)
    exact = x @ weight.T
    error = rows @ (s8.float() * scales[:, None]).T - exact
    return float((error.square().sum(1) / exact.square().sum(1)).mean())


def outlier_layer() -> tuple[Tensor, Tensor]:
    """Inputs and weights with a few channels much larger than the rest, as a LayerNorm's output has."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(64, generator=generator).mul(2).exp()
    spread[5] *= 20
    return torch.randn(400, 64, generator=generator) * spread, torch.randn(48, 64, generator=generator)


def test_factors_shrink_the_outlier_channel_and_keep_the_product() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(50, 16), torch.randn(8, 16)
    x[:, 3] *= 40
    factors = equalization_factors(x.abs().amax(0), weight)
    assert factors[3] == factors.min()
    spread = lambda ranges: float(ranges.max() / ranges.median())  # noqa: E731 - used twice below
    assert spread((x * factors).abs().amax(0)) < spread(x.abs().amax(0)) / 3
    torch.testing.assert_close((x * factors) @ (weight / factors).T, x @ weight.T, rtol=1e-4, atol=1e-3)


def test_factors_follow_the_formula_up_to_one_constant() -> None:
    inputs, weight = torch.tensor([1.0, 4.0, 16.0]), torch.tensor([[1.0, 2.0, 0.5]])
    factors = equalization_factors(inputs, weight, alpha=0.5).double()
    expected = (weight[0].double() / inputs.double()).sqrt()
    torch.testing.assert_close(factors / factors[0], expected / expected[0], rtol=1e-6, atol=0)
    assert factors.log().mean().abs() < 1e-6


def test_dead_channels_keep_factor_one() -> None:
    factors = equalization_factors(torch.tensor([0.0, 2.0, 3.0]), torch.tensor([[1.0, 0.0, 2.0]]))
    assert factors[0] == 1
    assert factors[1] == 1
    assert factors[2] > 0


def test_layers_that_share_an_input_share_factors() -> None:
    inputs = torch.tensor([1.0, 2.0])
    one, two = torch.tensor([[1.0, 8.0]]), torch.tensor([[4.0, 1.0]])
    together = equalization_factors(inputs, [one, two])
    torch.testing.assert_close(together, equalization_factors(inputs, torch.cat([one, two])))


def test_bad_ranges_are_refused() -> None:
    with pytest.raises(ShapeError, match="3 channels"):
        equalization_factors(torch.ones(3), torch.ones(2, 4))
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        equalization_factors(torch.tensor([1.0, float("nan")]), torch.ones(2, 2))


def test_fitted_factors_beat_those_from_peaks_on_rows_not_seen() -> None:
    x, weight = outlier_layer()
    seen, unseen = x[:200], x[200:]
    peaks = seen.abs().amax(0)
    plain = relative_error(unseen, weight, equalization_factors(peaks, weight))
    fitted = relative_error(unseen, weight, fitted_factors(peaks, seen, weight))
    assert plain < 0.5 * relative_error(unseen, weight, torch.ones(64))
    assert fitted < 0.95 * plain


def test_a_channel_that_only_the_peaks_show_is_not_let_loose() -> None:
    x, weight = outlier_layer()
    sample = x[:40].clone()
    sample[:, 9] = 0
    factors = fitted_factors(x.abs().amax(0), sample, weight)
    assert float(factors[9]) < 10 * float(fitted_factors(x.abs().amax(0), x[:40], weight)[9])


def test_fitted_factors_are_deterministic_and_fall_back_without_rows() -> None:
    x, weight = outlier_layer()
    peaks = x.abs().amax(0)
    assert torch.equal(fitted_factors(peaks, x, weight), fitted_factors(peaks, x, weight))
    assert torch.equal(fitted_factors(peaks, x[:0], weight), equalization_factors(peaks, weight))


def test_fitted_factors_stand_dead_channels_and_layers() -> None:
    x, weight = outlier_layer()
    x[:, 0], weight[:, 1] = 0, 0
    factors = fitted_factors(x.abs().amax(0), x, weight)
    assert factors[:2].tolist() == [1, 1]
    assert bool((torch.isfinite(factors) & (factors > 0)).all())
    assert torch.equal(fitted_factors(torch.zeros(64), torch.zeros(9, 64), weight), torch.ones(64))
    assert torch.equal(fitted_factors(x.abs().amax(0), x, torch.zeros(3, 64)), torch.ones(64))


def test_an_unimportant_sibling_hardly_moves_shared_factors() -> None:
    x, value = outlier_layer()
    query = value * torch.linspace(0.05, 20, 64)
    peaks = x.abs().amax(0)
    alone = fitted_factors(peaks, x, value)

    def distance(importance: list[float]) -> float:
        return float((fitted_factors(peaks, x, [query, value], importance) / alone).log().abs().mean())

    assert distance([1e-4, 1.0]) < 0.5 * distance([1.0, 1.0])


def test_queries_and_keys_matter_less() -> None:
    assert output_importance("encoder.layer.0.attention.self.query") < 1
    assert output_importance("layers.3.self_attn.k_proj") < 1
    assert output_importance("encoder.layer.0.attention.self.value") == 1
    assert output_importance("encoder.layer.0.intermediate.dense") == 1


def test_what_cannot_be_fitted_is_refused() -> None:
    x, weight = outlier_layer()
    with pytest.raises(ConfigError, match="2 values for 1 weights"):
        fitted_factors(x.abs().amax(0), x, weight, [1.0, 1.0])
    with pytest.raises(ShapeError, match=r"must be \[R, 64\]"):
        fitted_factors(x.abs().amax(0), x[:, :3], weight)
    with pytest.raises(ConfigError, match="no weight"):
        equalization_factors(x.abs().amax(0), [])
    with pytest.raises(ConfigError, match="alpha is 2"):
        equalization_factors(x.abs().amax(0), weight, alpha=2)
