# SPDX-License-Identifier: MIT
"""linear() means what its formula says, to the last bit, on every instruction set and with every epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastformers import kernels
from fastformers.kernels import Activation

Draw = Callable[..., NDArray[np.float32]]
Same = Callable[[Any, Any], bool]

ACTIVATIONS: list[Activation | None] = [None, "relu", "gelu", "gelu_tanh"]
SEEDS = st.integers(0, 2**32 - 1)
TILE_EDGES = [
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    11,
    12,
    13,
    15,
    16,
    17,
    26,
    31,
    33,
    47,
    48,
    49,
    63,
    64,
    65,
    78,
    97,
    208,
    234,
]
ROWS = st.sampled_from([1, 2, 5, 6, 7, 8, 9, 13, 16, 47, 48, 49, 65])


@dataclass(frozen=True)
class Layer:
    """A linear layer's arguments in every combination that the epilogue knows."""

    x: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    factors: NDArray[np.float32] | None
    residual: NDArray[np.float32] | None
    activation: Activation | None

    def run(self, **options: Any) -> NDArray[np.float32]:
        return kernels.linear(
            self.x,
            kernels.pack(self.weight),
            self.bias,
            activation=self.activation,
            factors=self.factors,
            residual=self.residual,
            **options,
        )


@st.composite
def layers(draw: st.DrawFn, activations: list[Activation | None] = ACTIVATIONS) -> Layer:
    rows, columns, depth = draw(ROWS), draw(st.sampled_from(TILE_EDGES)), draw(st.sampled_from(TILE_EDGES))
    rng = np.random.default_rng(draw(SEEDS))
    size = draw(st.sampled_from([1e-3, 1.0, 50.0]))

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    return Layer(
        x=normal(rows, depth) * np.float32(size) + np.float32(draw(st.sampled_from([0.0, 2.0]))),
        weight=normal(columns, depth),
        bias=normal(columns) if draw(st.booleans()) else None,
        factors=np.abs(normal(depth)) + np.float32(0.1) if draw(st.booleans()) else None,
        residual=normal(rows, columns) if draw(st.booleans()) else None,
        activation=draw(st.sampled_from(activations)),
    )


def model_quantize(
    x: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """design: q = clamp(round(x / scale + zero point)); long double stands in for the fused multiply-add."""
    low = np.minimum(x.min(axis=1), np.float32(0))
    high = np.maximum(x.max(axis=1), np.float32(0))
    per_255 = np.float32(1) / np.float32(255)
    scale = high * per_255 - low * per_255
    small = scale < np.finfo(np.float32).tiny
    inverse = np.float32(1) / np.where(small, np.float32(1), scale)
    zero_point = np.clip(np.rint(-low * inverse), 0, 255)
    fused = x.astype(np.longdouble) * inverse[:, None] + zero_point[:, None]
    q = np.clip(np.rint(fused.astype(np.float32)), 0, 255)
    return q.astype(np.int64), np.where(small, np.float32(0), scale), zero_point.astype(np.int64)


def gelu_model(x: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    if activation == "gelu":
        return 0.5 * x * np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2))
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x / (1 + np.exp(np.clip(-2 * inner, None, 700)))


def model_linear(layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(the value, how far float32 may be from it): exact integers, then float64."""
    scaled = layer.x if layer.factors is None else layer.x * layer.factors
    q, row_scale, zero_point = model_quantize(scaled)
    weight, column_scale = kernels.quantize_weight(layer.weight)
    sums = (q - zero_point[:, None]) @ weight.astype(np.int64).T
    scale = (row_scale[:, None] * column_scale[None, :]).astype(np.float64)
    value = sums.astype(np.float32).astype(np.float64) * scale
    if layer.bias is not None:
        value = value + layer.bias
    error = np.spacing(np.abs(value).astype(np.float32)).astype(np.float64) / 2
    if layer.activation == "relu":
        value = np.maximum(value, 0)
    elif layer.activation is not None:
        value = gelu_model(value, layer.activation)
        error = 1.13 * error + 4e-8 + np.spacing(np.abs(value).astype(np.float32))
    if layer.residual is not None:
        value = value + layer.residual
        error = error + np.spacing(np.abs(value).astype(np.float32)) / 2
    return value, error * 1.01


@given(layer=layers())
def test_linear_is_the_quantized_formula(isa: str, layer: Layer) -> None:
    value, error = model_linear(layer)
    assert np.all(np.abs(layer.run() - value) <= error)


@given(layer=layers())
def test_every_instruction_set_gives_the_same_bytes(all_isas: list[str], layer: Layer) -> None:
    results = []
    for name in all_isas:
        with kernels.use_isa(name):
            results.append(layer.run())
            assert kernels.last_used_isa() == name
    assert len({result.tobytes() for result in results}) == 1


@given(layer=layers(activations=[None]))
def test_result_is_within_the_rounding_of_weights_and_activations(isa: str, layer: Layer) -> None:
    """The float matmul, off by at most half a step of every activation and of every weight."""
    factors = np.ones(layer.x.shape[1], np.float32) if layer.factors is None else layer.factors
    x, weight = (layer.x * factors).astype(np.float64), layer.weight.astype(np.float64)
    exact = x @ weight.T
    if layer.bias is not None:
        exact += layer.bias
    if layer.residual is not None:
        exact += layer.residual
    row_step = np.maximum(x.max(axis=1), 0) / 255 - np.minimum(x.min(axis=1), 0) / 255
    column_step = np.abs(weight).max(axis=1) / 127
    # Zero points are rounded too, so an activation may be clamped by up to half a step more.
    activation_error = row_step[:, None] * np.abs(weight).sum(axis=1)[None, :]
    weight_error = 0.5 * column_step[None, :] * (np.abs(x).sum(axis=1) + row_step * x.shape[1])[:, None]
    slack = 1e-5 * (1 + np.abs(exact) + np.abs(x) @ np.abs(weight).T)
    assert np.all(np.abs(layer.run() - exact) <= activation_error + weight_error + slack)


@given(seed=SEEDS, rows=ROWS, columns=st.sampled_from(TILE_EDGES), depth=st.sampled_from(TILE_EDGES))
def test_matmul_s32_is_exact(isa: str, seed: int, rows: int, columns: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    q = np.zeros((rows, -(-depth // 4) * 4), np.uint8)
    q[:, :depth] = rng.choice(np.array([0, 1, 254, 255, 128], np.uint8), (rows, depth))
    weight = rng.choice(np.array([-127, -126, 0, 127], np.int8), (columns, depth))
    packed = kernels.pack(weight, np.ones(columns, np.float32))
    exact = q[:, :depth].astype(np.int64) @ weight.astype(np.int64).T
    assert np.array_equal(kernels.matmul_s32(q, packed), exact)


def test_largest_depth_does_not_overflow(isa: str) -> None:
    depth = kernels.MAX_DEPTH
    for sign in (1, -1):
        packed = kernels.pack(np.full((17, depth), 127 * sign, np.int8), np.ones(17, np.float32))
        q = np.full((2, depth), 255, np.uint8)
        assert np.all(kernels.matmul_s32(q, packed) == sign * 255 * 127 * depth)
        result = kernels.linear(np.full((1, depth), sign, np.float32), packed)
        np.testing.assert_allclose(
            result, 127 * depth, rtol=3e-7
        )  # three roundings: 1 / 255, the scale, the product


@given(layer=layers())
def test_quantized_rows_in_and_out_are_the_same_path(isa: str, same_bytes: Same, layer: Layer) -> None:
    packed = kernels.pack(layer.weight)
    rows = kernels.quantize_rows(layer.x, layer.factors)
    direct = layer.run()
    through = kernels.linear_quantized(
        rows, packed, layer.bias, activation=layer.activation, residual=layer.residual
    )
    assert same_bytes(through, direct)
    if layer.residual is None:
        fused = kernels.linear_to_quantized(
            layer.x, packed, layer.bias, activation=layer.activation, factors=layer.factors
        )
        separate = kernels.quantize_rows(direct)
        for name in ("q", "scales", "zero_points"):
            assert np.array_equal(getattr(fused, name), getattr(separate, name))


@given(layer=layers())
def test_out_may_be_the_residual(isa: str, same_bytes: Same, layer: Layer) -> None:
    if layer.residual is None:
        return
    expected = layer.run()
    buffer = layer.residual.copy()
    in_place = Layer(layer.x, layer.weight, layer.bias, layer.factors, buffer, layer.activation)
    result = in_place.run(out=buffer)
    assert result is buffer
    assert same_bytes(buffer, expected)


def test_out_is_written_in_place_and_only_there(isa: str, draw: Draw) -> None:
    x, weight = draw(1, 7, 33), kernels.pack(draw(2, 21, 33))
    frame = np.full((9, 30), 7.0, np.float32)
    out = frame[1:8, 4:25]
    assert kernels.linear(x, weight, out=out) is out
    assert np.array_equal(out, kernels.linear(x, weight))
    outside = np.ones_like(frame, dtype=bool)
    outside[1:8, 4:25] = False
    assert np.all(frame[outside] == 7.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_per_tensor_uses_one_range_for_all_rows(isa: str, draw: Draw, threads: int) -> None:
    x = draw(3, 40, 64) * np.linspace(0.01, 5, 40, dtype=np.float32)[:, None]
    rows = kernels.quantize_rows(x, per_tensor=True)
    assert np.unique(rows.scales).size == 1
    assert np.unique(rows.zero_points).size == 1
    packed = kernels.pack(draw(4, 50, 64))
    together = kernels.linear(x, packed, per_tensor=True, threads=threads)
    assert np.array_equal(together, kernels.linear_quantized(rows, packed))
    assert not np.array_equal(together, kernels.linear(x, packed))


def test_leading_dimensions_are_kept(isa: str, draw: Draw) -> None:
    x, packed = draw(5, 2, 3, 20), kernels.pack(draw(6, 10, 20))
    result = kernels.linear(x, packed)
    assert result.shape == (2, 3, 10)
    assert np.array_equal(result.reshape(6, 10), kernels.linear(x.reshape(6, 20), packed))
    assert np.array_equal(kernels.linear(x[0, 0], packed), result[0, 0])


@pytest.mark.parametrize("shape", [(0, 20), (2, 0, 20), (0, 3, 20)])
def test_empty_batch_gives_an_empty_result(isa: str, draw: Draw, shape: tuple[int, ...]) -> None:
    packed = kernels.pack(draw(7, 10, 20))
    kernels.linear(draw(8, 1, 20), packed)  # what the isa fixture wants to see; the empty one runs nothing
    result = kernels.linear(np.zeros(shape, np.float32), packed, np.zeros(10, np.float32), activation="gelu")
    assert result.shape == (*shape[:-1], 10)
    assert result.dtype == np.float32
