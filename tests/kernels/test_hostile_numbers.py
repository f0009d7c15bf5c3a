# SPDX-License-Identifier: MIT
"""What NaN, infinities, zeros, denormals and extremes do: the documented table, on every instruction set."""

from __future__ import annotations

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
ACTIVATIONS: list[kernels.Activation | None] = [None, "relu", "gelu", "gelu_tanh"]
DENORMAL = np.float32(1e-41)
LARGEST = np.finfo(np.float32).max


@pytest.fixture(params=ACTIVATIONS, ids=str)
def activation(request: pytest.FixtureRequest) -> kernels.Activation | None:
    chosen: kernels.Activation | None = request.param
    return chosen


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("depth", [1, 7, 64, 93])
def test_a_row_with_nan_or_inf_is_nan_and_no_other(
    isa: str, draw: Draw, same_bytes: Same, activation: Any, bad: float, depth: int
) -> None:
    x, packed, bias = draw(1, 9, depth), kernels.pack(draw(2, 37, depth)), draw(3, 37)
    clean = kernels.linear(x, packed, bias, activation=activation)
    for row, place in ((0, 0), (4, depth // 2), (8, depth - 1)):
        hostile = x.copy()
        hostile[row, place] = bad
        result = kernels.linear(hostile, packed, bias, activation=activation)
        assert np.all(np.isnan(result[row]))
        others = np.arange(9) != row
        assert same_bytes(result[others], clean[others])


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_product_with_the_factors_counts_like_an_input(isa: str, draw: Draw, factor: float) -> None:
    x, packed = draw(1, 3, 20), kernels.pack(draw(2, 5, 20))
    x[1, 4] = 0.0
    factors = np.ones(20, np.float32)
    factors[4] = factor
    assert np.all(np.isnan(kernels.linear(x, packed, factors=factors)))
    overflowing = np.full(20, np.float32(4.0))
    x[2, 0] = LARGEST
    result = kernels.linear(x, packed, factors=overflowing)
    assert np.all(np.isnan(result[2]))
    assert not np.any(np.isnan(result[:2]))


@pytest.mark.parametrize("value", [0.0, -0.0, DENORMAL, -DENORMAL, np.float32(1e-37)])
def test_a_row_of_zeros_or_of_next_to_nothing_gives_the_bias(isa: str, draw: Draw, value: float) -> None:
    packed, bias, residual = kernels.pack(draw(2, 37, 50)), draw(3, 37), draw(4, 2, 37)
    x = np.full((2, 50), value, np.float32)
    assert np.array_equal(kernels.linear(x, packed, bias), np.stack([bias, bias]))
    assert np.all(kernels.linear(x, packed) == 0.0)
    assert np.array_equal(kernels.linear(x, packed, bias, residual=residual), bias + residual)
    rows = kernels.quantize_rows(x)
    assert np.all(rows.scales == 0.0)


@pytest.mark.parametrize("weight_value", [0.0, DENORMAL])
def test_a_weight_column_of_zeros_gives_the_bias(isa: str, draw: Draw, weight_value: float) -> None:
    weight, bias = draw(5, 20, 33), draw(6, 20)
    weight[7] = weight_value
    result = kernels.linear(draw(7, 4, 33), kernels.pack(weight), bias)
    assert np.all(result[:, 7] == bias[7])
    assert np.count_nonzero(result == bias) == 4


def test_negative_zero_counts_as_zero(isa: str, draw: Draw, same_bytes: Same) -> None:
    x, packed = np.maximum(draw(8, 6, 40), 0), kernels.pack(draw(9, 21, 40))
    negative = np.where(x == 0, np.float32(-0.0), x)
    assert np.signbit(negative).any()
    assert same_bytes(kernels.linear(negative, packed), kernels.linear(x, packed))


@pytest.mark.parametrize("sign", [1, -1])
def test_one_sided_extremes_use_all_255_steps(isa: str, sign: int) -> None:
    x = np.linspace(0, sign * LARGEST, 256, dtype=np.float64).astype(np.float32)[None, :]
    rows = kernels.quantize_rows(x)
    assert rows.zero_points[0] == (0 if sign > 0 else 255)
    steps = np.arange(256) if sign > 0 else 255 - np.arange(256)
    assert np.array_equal(rows.q[0], steps)
    packed = kernels.pack(np.ones((1, 256), np.float32))
    assert np.all(np.isfinite(kernels.linear(x / 256, packed)))


@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 150))
def test_every_instruction_set_gives_the_same_bytes(
    all_isas: list[str], same_bytes: Same, seed: int, depth: int
) -> None:
    rng = np.random.default_rng(seed)
    specials = np.array(
        [np.nan, np.inf, -np.inf, 0, -0.0, 1e-41, -1e-41, 1e-38, 3e38, -3e38, 1, -1, 1e10], np.float32
    )
    x = np.where(
        rng.random((12, depth)) < 0.03, rng.choice(specials, (12, depth)), rng.normal(size=(12, depth))
    )
    x = x.astype(np.float32)
    weight = rng.normal(size=(19, depth)).astype(np.float32)
    results: list[list[Any]] = []
    for name in all_isas:
        with kernels.use_isa(name):
            packed = kernels.pack(weight)
            gamma, beta = weight[0], weight[1]
            rows = kernels.quantize_rows(x)
            results.append(
                [
                    *(kernels.linear(x, packed, activation=activation) for activation in ACTIVATIONS),
                    rows.scales,
                    kernels.layer_norm(x, gamma, beta),
                    kernels.layer_norm_quantized(x, gamma, beta, factors=gamma)[1].scales,
                    kernels.softmax(x),
                    kernels.gelu(x),
                    kernels.gelu(x, approximate="tanh"),
                ]
            )
    for other in results[1:]:
        assert all(same_bytes(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_softmax_rows_with_nan_or_inf_are_nan(selected_isa: str, draw: Draw, bad: float) -> None:
    x = draw(10, 5, 70)
    x[2, 69] = bad
    result = kernels.softmax(x)
    assert np.all(np.isnan(result[2]))
    assert not np.any(np.isnan(np.delete(result, 2, axis=0)))


def test_softmax_masks_with_minus_infinity(selected_isa: str, draw: Draw) -> None:
    x = draw(11, 3, 40)
    expected = kernels.softmax(x[:, :25].copy())
    x[:, 25:] = -np.inf
    result = kernels.softmax(x)
    assert np.all(result[:, 25:] == 0.0)
    np.testing.assert_allclose(result[:, :25], expected, rtol=3e-7)
    x[1] = -np.inf
    assert np.all(np.isnan(kernels.softmax(x)[1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_layer_norm_rows_with_nan_or_inf_are_nan(selected_isa: str, draw: Draw, bad: float) -> None:
    x, gamma, beta = draw(12, 4, 33), draw(13, 33), draw(14, 33)
    x[1, 32] = bad
    result, rows = kernels.layer_norm_quantized(x, gamma, beta)
    assert np.all(np.isnan(result[1]))
    assert np.isnan(rows.scales[1])
    assert np.count_nonzero(np.isnan(rows.scales)) == 1
    assert np.count_nonzero(np.isnan(result)) == 33


def test_layer_norm_of_equal_numbers_is_beta(selected_isa: str, draw: Draw) -> None:
    gamma, beta = draw(15, 50), draw(16, 50)
    assert np.array_equal(
        kernels.layer_norm(np.full((3, 50), 2.0, np.float32), gamma, beta), np.stack([beta] * 3)
    )


def test_gelu_at_its_ends(selected_isa: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, 100.0, -100.0, LARGEST, -LARGEST], np.float32)
    for approximate in ("none", "tanh"):
        result = kernels.gelu(x, approximate=approximate)  # type: ignore[arg-type]
        assert result[0] == np.inf
        assert np.isnan(result[2])
        assert result[3] == 0.0
        assert result[4] == 100.0
        assert result[6] == LARGEST
        assert np.all(np.abs(result[[1, 5, 7]]) <= 3e-8)
