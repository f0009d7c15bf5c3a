# SPDX-License-Identifier: MIT
"""Rounding of weights: nearest is nearest, compensated is better on the inputs it was given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastformers.errors import CalibrationError, NonFiniteError, ShapeError
from fastformers.quantization.rounding import quantize_weight


def correlated_inputs(rows: int, depth: int) -> Tensor:
    return torch.randn(rows, depth) @ torch.randn(depth, depth) / depth**0.5


def test_nearest_is_within_half_a_step() -> None:
    torch.manual_seed(0)
    weight = torch.randn(13, 37)
    s8, scales = quantize_weight(weight)
    assert s8.dtype == torch.int8
    assert int(s8.abs().max()) == 127
    assert float((s8 * scales[:, None] - weight).abs().max() / scales.max()) <= 0.5 + 1e-5


@pytest.mark.parametrize("factored", [False, True])
def test_compensated_rounding_beats_nearest_on_its_inputs(factored: bool) -> None:
    torch.manual_seed(1)
    inputs, weight = correlated_inputs(600, 150), torch.randn(40, 150)
    factors = torch.rand(150) + 0.5 if factored else None
    equalized = inputs if factors is None else inputs * factors
    wanted = inputs @ weight.T

    def error(rounded: tuple[Tensor, Tensor]) -> float:
        s8, scales = rounded
        return float((equalized @ (s8.float() * scales[:, None]).T - wanted).square().mean())

    nearest = error(quantize_weight(weight, factors))
    compensated = error(quantize_weight(weight, factors, "compensated", inputs.T @ inputs))
    assert compensated < 0.6 * nearest


def test_an_uncorrelated_hessian_changes_nothing() -> None:
    torch.manual_seed(2)
    weight = torch.randn(9, 20)
    s8, _ = quantize_weight(weight, None, "compensated", torch.eye(20))
    assert torch.equal(s8, quantize_weight(weight)[0])


def test_rows_of_zeros_and_dead_inputs_are_fine() -> None:
    weight, hessian = torch.randn(4, 8), torch.zeros(8, 8)
    weight[1] = 0
    s8, scales = quantize_weight(weight, None, "compensated", hessian)
    assert scales[1] == 0
    assert not bool(s8[1].any())


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(CalibrationError, match="Hessian"):
        quantize_weight(torch.ones(2, 2), None, "compensated")
    with pytest.raises(ShapeError, match=r"expected \[2, 2\]"):
        quantize_weight(torch.ones(3, 2), None, "compensated", torch.eye(3))
    with pytest.raises(ShapeError, match="N, K"):
        quantize_weight(torch.ones(3))
    with pytest.raises(NonFiniteError):
        quantize_weight(torch.full((2, 2), float("inf")))
