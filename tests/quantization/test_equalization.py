# SPDX-License-Identifier: MIT
"""Equalisation factors: what they do to ranges, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from fastformers.errors import NonFiniteError, ShapeError
from fastformers.quantization.equalization import equalization_factors


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
