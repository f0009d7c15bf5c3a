# SPDX-License-Identifier: MIT
"""Fixtures of the module tests: every supported instruction set, and layers of odd shapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from fastformers import kernels
from fastformers.kernels import Activation
from fastformers.modules import PackedLinear

_FORCED = os.environ.get("FASTFORMERS_ISA")
#: Under FASTFORMERS_ISA the whole process stays on that path; otherwise every supported one is visited.
ISAS = [_FORCED] if _FORCED else kernels.available_isas()


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Every test draws the same numbers, alone or after others: of all draws, 2 % round by more than tests allow."""
    torch.manual_seed(0)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set, for the length of a test."""
    name: str = request.param
    with kernels.use_isa(name):
        yield name


@pytest.fixture(scope="session")
def make_linear() -> Callable[..., nn.Linear]:
    """``make_linear(depth, columns, bias=True)``: the same random layer for the same arguments."""

    def make(depth: int, columns: int, bias: bool = True) -> nn.Linear:
        generator = torch.Generator().manual_seed(depth * 10_007 + columns)
        linear = nn.Linear(depth, columns, bias)
        with torch.no_grad():
            for parameter in linear.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return linear.eval()

    return make


@pytest.fixture
def layer(make_linear: Callable[..., nn.Linear]) -> PackedLinear:
    """A layer with everything: bias, activation, equalisation factors."""
    activation: Activation = "gelu"
    return PackedLinear.from_linear(
        make_linear(78, 17), activation, factors=torch.linspace(0.5, 2, 78)
    ).eval()
