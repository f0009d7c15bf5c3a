# SPDX-License-Identifier: MIT
"""Fixtures of the kernel tests: the instruction sets under test, each proved to have run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from fastformers import kernels

# `isa` is set once for all examples of a test: that is what a function-scoped fixture should do here.
settings.register_profile(
    "kernels",
    deadline=None,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("kernels")

_FORCED = os.environ.get("FASTFORMERS_ISA")
#: Under FASTFORMERS_ISA the whole process stays on that path; otherwise every supported one is visited.
ISAS = [_FORCED] if _FORCED else kernels.available_isas()


@pytest.fixture(scope="session")
def all_isas() -> list[str]:
    return ISAS


@pytest.fixture(params=ISAS)
def selected_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set, selected for the length of a test."""
    name: str = request.param
    with kernels.use_isa(name):
        yield name
        assert kernels.active_isa() == name, "the test left another instruction set selected"


@pytest.fixture
def isa(selected_isa: str) -> Iterator[str]:
    """As ``selected_isa``, for tests with a matmul: it is a failure when none ran on this instruction set."""
    for other in ISAS:
        if other != selected_isa:
            with kernels.use_isa(other):
                kernels.linear(np.ones((1, 1), np.float32), kernels.pack(np.ones((1, 1), np.float32)))
            assert kernels.last_used_isa() == other
            break
    yield selected_isa
    assert kernels.last_used_isa() == selected_isa, (
        f"asked for {selected_isa}, ran on {kernels.last_used_isa()}"
    )


@pytest.fixture(scope="session")
def draw() -> Callable[..., NDArray[np.float32]]:
    """``draw(seed, *shape)``: float32 numbers of about unit size, the same for the same arguments."""

    def normal(seed: int, *shape: int) -> NDArray[np.float32]:
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    return normal


@pytest.fixture(scope="session")
def same_bytes() -> Callable[[Any, Any], bool]:
    """Whether two float32 arrays have the same shape and bits; any NaN is like any other."""

    def same(left: Any, right: Any) -> bool:
        a, b = np.asarray(left), np.asarray(right)
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        equal = a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}") if a.size else np.array(True)
        return bool(np.all(equal | (np.isnan(a) & np.isnan(b))))

    return same
