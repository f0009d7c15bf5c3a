# SPDX-License-Identifier: MIT
"""LayerNorm, softmax, GELU and row quantization against float64, and alike on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastformers import kernels

Draw = Callable[..., NDArray[np.float32]]
Same = Callable[[Any, Any], bool]

UNIT = 2.0**-24  # rounding error of one float32 operation
SHAPES = st.tuples(st.sampled_from([1, 2, 7, 33]), st.sampled_from([1, 2, 15, 16, 17, 63, 64, 65, 312, 768]))
SEEDS = st.integers(0, 2**32 - 1)


def float64_layer_norm(
    v: NDArray[np.float32], gamma: NDArray[np.float32], beta: NDArray[np.float32], epsilon: float
) -> NDArray[np.float64]:
    wide = v.astype(np.float64)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return centred * rstd * gamma + beta


@given(seed=SEEDS, shape=SHAPES, residual=st.booleans(), epsilon=st.sampled_from([1e-12, 1e-5]))
def test_layer_norm_is_close_to_float64(
    selected_isa: str, draw: Draw, seed: int, shape: tuple[int, int], residual: bool, epsilon: float
) -> None:
    """Sums of depth / 64 + 8 float32 steps; the mean's error grows by |mean| / sigma, which is about 1 here."""
    x, gamma, beta = draw(seed, *shape) + np.float32(1), draw(seed + 1, shape[1]), draw(seed + 2, shape[1])
    added = draw(seed + 3, *shape) if residual else None
    result = kernels.layer_norm(x, gamma, beta, epsilon, residual=added)
    v = x if added is None else x + added
    spread = np.abs(v).max(axis=1, keepdims=True) / np.sqrt(
        v.var(axis=1, keepdims=True, dtype=np.float64) + epsilon
    )
    normal_error = (shape[1] / 64 + 12) * UNIT * (1 + spread) * 4
    bound = normal_error * np.abs(gamma) * (1 + spread) + UNIT * 4 * np.abs(beta)
    assert np.all(np.abs(result - float64_layer_norm(v, gamma, beta, epsilon)) <= bound)


@given(seed=SEEDS, shape=SHAPES, factors=st.booleans(), residual=st.booleans())
def test_layer_norm_quantized_is_layer_norm_then_quantize(
    selected_isa: str,
    draw: Draw,
    same_bytes: Same,
    seed: int,
    shape: tuple[int, int],
    factors: bool,
    residual: bool,
) -> None:
    x, gamma, beta = draw(seed, *shape), draw(seed + 1, shape[1]), draw(seed + 2, shape[1])
    chosen = np.abs(draw(seed + 3, shape[1])) if factors else None
    added = draw(seed + 4, *shape) if residual else None
    result, rows = kernels.layer_norm_quantized(x, gamma, beta, residual=added, factors=chosen)
    assert same_bytes(result, kernels.layer_norm(x, gamma, beta, residual=added))
    separate = kernels.quantize_rows(result, chosen)
    for name in ("q", "scales", "zero_points"):
        assert np.array_equal(getattr(rows, name), getattr(separate, name))
    assert rows.depth == shape[1]


@given(seed=SEEDS, shape=SHAPES, size=st.sampled_from([0.01, 1.0, 30.0]))
def test_softmax_is_close_to_float64(
    selected_isa: str, draw: Draw, seed: int, shape: tuple[int, int], size: float
) -> None:
    """The argument t = max - x of exp carries a rounding error of t u, so exp a relative one; the rest is a few u."""
    x = draw(seed, *shape) * np.float32(size)
    result = kernels.softmax(x)
    below = x.max(axis=1, keepdims=True).astype(np.float64) - x
    expected = np.exp(-below)
    expected /= expected.sum(axis=1, keepdims=True)
    relative = (2 * np.minimum(below, 110) + 16 + shape[1] / 64) * UNIT
    assert np.all(np.abs(result - expected) <= relative * expected + 1.3e-38)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_error_is_what_its_docstring_says(selected_isa: str, approximate: Any) -> None:
    near = np.linspace(-8, 8, 200_001, dtype=np.float32)
    small = np.geomspace(1e-40, 1e-2, 2001, dtype=np.float64).astype(np.float32)
    x = np.concatenate([near, small, -small])
    wide = x.astype(np.float64)
    if approximate == "none":
        exact = 0.5 * wide * np.vectorize(math.erfc)(-wide / math.sqrt(2))
    else:
        exact = wide / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    error = np.abs(kernels.gelu(x, approximate=approximate) - exact)
    assert np.all(error <= 3e-8 + np.spacing(np.abs(exact).astype(np.float32)))
    assert np.all(
        error <= 4e-7 * np.abs(wide) + 1e-44
    )  # relative near zero, where the absolute bound says nothing


@given(seed=SEEDS, shape=SHAPES)
def test_every_instruction_set_gives_the_same_bytes(
    all_isas: list[str], draw: Draw, seed: int, shape: tuple[int, int]
) -> None:
    x, gamma, beta = draw(seed, *shape) * np.float32(3), draw(seed + 1, shape[1]), draw(seed + 2, shape[1])
    results = set()
    for name in all_isas:
        with kernels.use_isa(name):
            normal, rows = kernels.layer_norm_quantized(x, gamma, beta, 1e-6, residual=x, factors=gamma)
            parts = [normal, rows.q, rows.scales, rows.zero_points, kernels.softmax(x), kernels.gelu(x)]
            parts.append(kernels.gelu(x, approximate="tanh"))
            results.add(b"".join(part.tobytes() for part in parts))
    assert len(results) == 1


@given(
    seed=SEEDS, shape=SHAPES, size=st.sampled_from([1e-6, 1.0, 1e6]), shift=st.sampled_from([0.0, 3.0, -3.0])
)
def test_quantized_rows_are_within_half_a_step(
    selected_isa: str, draw: Draw, seed: int, shape: tuple[int, int], size: float, shift: float
) -> None:
    x = (draw(seed, *shape) + np.float32(shift)) * np.float32(size)
    rows = kernels.quantize_rows(x)
    assert rows.q.shape == (shape[0], -(-shape[1] // 4) * 4)
    assert not rows.q[:, shape[1] :].any()
    assert rows.zero_points.min() >= 0
    assert rows.zero_points.max() <= 255
    back = (rows.q[:, : shape[1]].astype(np.int64) - rows.zero_points[:, None]) * rows.scales[:, None].astype(
        np.float64
    )
    # Half a step of rounding, and at the ends of the range half a step more, because the zero point is rounded too.
    assert np.all(np.abs(back - x) <= rows.scales[:, None] * 1.001)
    inside = (rows.q[:, : shape[1]] > 0) & (rows.q[:, : shape[1]] < 255)
    assert np.all((np.abs(back - x) <= rows.scales[:, None] * 0.501) | ~inside)


def test_zero_is_represented_exactly(selected_isa: str, draw: Draw) -> None:
    x = draw(1, 50, 40)
    x[:, 7] = 0.0
    rows = kernels.quantize_rows(x)
    assert np.array_equal(rows.q[:, 7], rows.zero_points)


def test_gelu_of_any_shape(selected_isa: str, draw: Draw, same_bytes: Same) -> None:
    x = draw(2, 3, 4, 5)
    assert kernels.gelu(x).shape == (3, 4, 5)
    assert same_bytes(kernels.gelu(x).ravel(), kernels.gelu(x.ravel()))
    assert kernels.gelu(np.empty((0, 4), np.float32)).shape == (0, 4)
    assert kernels.softmax(np.empty((0, 4), np.float32)).shape == (0, 4)
    assert kernels.layer_norm(np.empty((0, 4), np.float32), x[0, 0, :4], x[0, 1, :4]).shape == (0, 4)
