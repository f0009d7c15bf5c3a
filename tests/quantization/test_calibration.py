# SPDX-License-Identifier: MIT
"""Observation of layer inputs through hooks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastformers.errors import CalibrationError
from fastformers.quantization.calibration import LayerObservation, observe


class TwoBranches(nn.Module):
    """q and k see the same tensor, out sees another; unused is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out, self.unused = (nn.Linear(6, 6) for _ in range(4))

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        result: Tensor = self.out(self.q(x) + self.k(x))
        return result


def seen(
    model: TwoBranches, batches: list[dict[str, Tensor]], *, hessian: bool = False, rows: int = 512
) -> dict[str, LayerObservation]:
    linears = {name: getattr(model, name) for name in ("q", "k", "out")}
    return observe(model, linears, batches, want_hessian=hessian, max_sample_rows=rows)


def test_ranges_rows_and_hessian_are_those_of_the_inputs() -> None:
    torch.manual_seed(0)
    batches = [{"x": torch.randn(2, 5, 6)}, {"x": torch.randn(1, 3, 6)}]
    found = seen(TwoBranches(), batches, hessian=True)["q"]
    rows = torch.cat([batch["x"].reshape(-1, 6) for batch in batches])
    assert torch.equal(found.input_absmax, rows.abs().amax(0))
    assert found.row_counts == [10, 3]
    assert torch.equal(found.sample_inputs, rows)
    assert found.hessian is not None
    torch.testing.assert_close(found.hessian, rows.T @ rows)


def test_layers_with_one_input_share_one_hessian() -> None:
    found = seen(TwoBranches(), [{"x": torch.randn(4, 6)}], hessian=True)
    assert found["q"].hessian is found["k"].hessian
    assert found["out"].hessian is not found["q"].hessian


def test_padding_does_not_enter() -> None:
    x = torch.ones(2, 3, 6)
    x[1, 2] = 1000
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    found = seen(TwoBranches(), [{"x": x, "attention_mask": mask}])["q"]
    assert float(found.input_absmax.max()) == 1
    assert len(found.sample_inputs) == 5
    assert found.row_counts == [6]


def test_the_sample_is_bounded_and_spread_over_the_batches() -> None:
    batches = [{"x": torch.full((40, 6), float(i))} for i in range(1, 9)]
    found = seen(TwoBranches(), batches, rows=16)["q"]
    assert len(found.sample_inputs) == 16
    assert sorted({int(value) for value in found.sample_inputs[:, 0]}) == list(range(1, 9))


def test_hooks_are_gone_after_an_error() -> None:
    model = TwoBranches()
    with pytest.raises(CalibrationError, match="'q' holds NaN"):
        seen(model, [{"x": torch.full((2, 6), float("nan"))}])
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_layer_that_is_never_reached_is_named() -> None:
    model = TwoBranches()
    with pytest.raises(CalibrationError, match="'unused' saw no input"):
        observe(model, {"unused": model.unused}, [{"x": torch.randn(2, 6)}], want_hessian=False)
