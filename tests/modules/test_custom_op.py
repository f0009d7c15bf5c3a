# SPDX-License-Identifier: MIT
"""Tracers see one opaque operator: no graph break, right shapes, the same bits as eager calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fastformers import errors
from fastformers.modules import PackedLinear

OPERATOR = torch.ops.fastformers.packed_linear.default
X = torch.randn(2, 5, 78, generator=torch.Generator().manual_seed(4))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it traces


@pytest.fixture
def model(layer: PackedLinear) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(78), layer, nn.Linear(17, 3)).eval()


@pytest.fixture(autouse=True)
def _forget_compiled_code() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_a_graph_break(model: nn.Module, backend: str) -> None:
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=True)
    with torch.no_grad():
        for x in (X, X[:, :3].contiguous(), torch.randn(7, 9, 78)):
            assert torch.equal(compiled(x), model(x))


def test_compiled_output_requires_no_grad(layer: PackedLinear) -> None:
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y = compiled(X.clone().requires_grad_())
    assert not y.requires_grad
    assert torch.equal(y, layer(X))


def test_exports_as_one_node(model: nn.Module) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (X,), dynamic_shapes=({0: batch},))
    assert [node.target for node in program.graph.nodes].count(OPERATOR) == 1
    other = torch.randn(9, 5, 78)
    with torch.no_grad():
        assert torch.equal(program.module()(other), model(other))


def test_operator_passes_torchs_own_checks(layer: PackedLinear) -> None:
    arguments = (layer.packed, layer.bias, layer.input_factors, 17, 2, False)
    for x in (X, X[:, 0], X.transpose(0, 1)):
        torch.library.opcheck(OPERATOR, (x, *arguments))
        assert torch.equal(OPERATOR(x, *arguments), layer(x))


def test_operator_refuses_what_does_not_fit(layer: PackedLinear) -> None:
    for x, error in ((X.half(), errors.DtypeError), (X[..., :7], errors.ShapeError)):
        with pytest.raises(error):
            OPERATOR(x, layer.packed, layer.bias, None, 17, 0, False)
    with pytest.raises(errors.ShapeError, match="17"):
        OPERATOR(X, layer.packed, None, None, 16, 0, False)
    with pytest.raises(errors.ConfigError, match="9"):
        OPERATOR(X, layer.packed, None, None, 17, 9, False)
    with pytest.raises(errors.ShapeError, match="packed weight"):
        OPERATOR(X, torch.zeros(640, dtype=torch.uint8), None, None, 17, 0, False)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_jit_trace_is_not_frozen_to_its_example(layer: PackedLinear) -> None:
    traced = torch.jit.trace(layer, X, check_trace=False)
    other = torch.randn(3, 4, 78)
    assert torch.equal(traced(other), layer(other))
