# SPDX-License-Identifier: MIT
"""Rounding of weights: nearest is nearest, compensated is better on the inputs it was given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastformers.errors import CalibrationError, ConfigError, NonFiniteError, ShapeError
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
    with pytest.raises(ConfigError, match="'compensated'"):
        quantize_weight(torch.ones(2, 2), None, "up")  # type: ignore[arg-type] # the point of the test
    with pytest.raises(ShapeError, match=r"factors .* expected \[2\]"):
        quantize_weight(torch.ones(2, 2), torch.ones(3))
    with pytest.raises(NonFiniteError, match="hessian"):
        quantize_weight(torch.ones(2, 2), None, "compensated", torch.full((2, 2), float("nan")))


def test_compensation_follows_its_definition() -> None:
    """Input by input in plain Python: the weights not yet rounded make up for what was lost so far, best in H."""
    torch.manual_seed(4)
    inputs, weight = correlated_inputs(90, 12).double(), torch.randn(3, 12)
    hessian = inputs.T @ inputs
    s8, scales = quantize_weight(weight, None, "compensated", hessian.float(), damping=1e-3)
    damped = hessian + torch.eye(12) * 1e-3 * hessian.diagonal().mean()
    order = torch.argsort(damped.diagonal(), descending=True).tolist()
    left, expected = weight.double().clone(), torch.empty(3, 12)
    for place, k in enumerate(order):
        expected[:, k] = torch.round(left[:, k] / scales).clamp(-127, 127)
        later = order[place + 1 :]
        if later:
            error = left[:, k] - expected[:, k] * scales
            left[:, later] += torch.outer(
                error, torch.linalg.solve(damped[later][:, later], damped[later, k])
            )
    assert torch.equal(s8.float(), expected)


def test_more_inputs_than_rows_still_round() -> None:
    torch.manual_seed(5)
    inputs, weight = torch.randn(20, 300), torch.randn(8, 300)
    s8, scales = quantize_weight(weight, None, "compensated", inputs.T @ inputs, damping=0.0)
    rounded = s8.float() * scales[:, None]
    nearest = quantize_weight(weight)[0].float() * scales[:, None]
    assert (inputs @ (rounded - weight).T).norm() < 0.5 * (inputs @ (nearest - weight).T).norm()
