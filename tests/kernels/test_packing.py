# SPDX-License-Identifier: MIT
"""Packed weights: rounding to nearest, exact round trips, self-describing bytes, one instruction set each."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastformers import kernels
from fastformers.errors import IsaError, ShapeError

Draw = Callable[..., NDArray[np.float32]]
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 120)


@given(seed=SEEDS, columns=SIZES, depth=SIZES)
def test_canonical_weights_come_back_unchanged(
    selected_isa: str, seed: int, columns: int, depth: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (columns, depth), dtype=np.int8)
    scales = rng.uniform(0, 1, columns).astype(np.float32)
    packed = kernels.pack(weight, scales)
    assert (packed.isa, packed.columns, packed.depth) == (selected_isa, columns, depth)
    unpacked, unpacked_scales = packed.unpack()
    assert np.array_equal(unpacked, weight)
    assert np.array_equal(unpacked_scales, scales)


@given(seed=SEEDS, columns=SIZES, depth=SIZES, size=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_float_weights_are_rounded_to_nearest(seed: int, columns: int, depth: int, size: float) -> None:
    weight = (np.random.default_rng(seed).standard_normal((columns, depth)) * size).astype(np.float32)
    canonical, scales = kernels.quantize_weight(weight)
    assert canonical.dtype == np.int8
    assert np.array_equal(np.abs(canonical).max(axis=1), np.full(columns, 127))
    np.testing.assert_allclose(scales, np.abs(weight).max(axis=1) / 127, rtol=2e-7)
    error = np.abs(canonical * scales[:, None].astype(np.float64) - weight)
    assert np.all(error <= scales[:, None] * 0.50001)
    unpacked, _ = kernels.pack(weight).unpack()
    assert np.array_equal(unpacked, canonical)


def test_packed_bytes_describe_themselves(isa: str, draw: Draw) -> None:
    packed = kernels.pack(draw(1, 40, 30))
    copy = kernels.empty_packed_buffer(40, 30)
    copy[:] = np.frombuffer((ctypes.c_uint8 * packed.nbytes).from_address(packed.address), np.uint8)
    view = kernels.PackedWeight.view(copy.ctypes.data, copy.size, copy)
    x = draw(2, 5, 30)
    assert np.array_equal(kernels.linear(x, view), kernels.linear(x, packed))


def _corrupted(buffer: NDArray[np.uint8], place: int) -> NDArray[np.uint8]:
    copy = kernels.empty_packed_buffer(8, 16)
    copy[:] = buffer
    copy[place] ^= 0xFF
    return copy


def test_bytes_that_are_no_packed_weight_are_refused(selected_isa: str, draw: Draw) -> None:
    buffer = kernels.empty_packed_buffer(8, 16)
    kernels.PackedWeight.pack(np.ones((8, 16), np.int8), np.ones(8, np.float32), buffer)
    view = kernels.PackedWeight.view
    with pytest.raises(ShapeError, match="not a packed weight"):
        view(_corrupted(buffer, 0).ctypes.data, buffer.size, buffer)
    with pytest.raises(ShapeError, match="not a packed weight"):
        view(_corrupted(buffer, 4).ctypes.data, buffer.size, buffer)
    with pytest.raises(IsaError, match="pack the canonical weights again"):
        view(_corrupted(buffer, 8).ctypes.data, buffer.size, buffer)
    with pytest.raises(ShapeError, match="too short"):
        view(buffer.ctypes.data, 10, buffer)
    with pytest.raises(ShapeError, match=f"has {buffer.size - 1}"):
        view(buffer.ctypes.data, buffer.size - 1, buffer)
    with pytest.raises(ShapeError, match="aligned to 64"):
        view(buffer.ctypes.data + 4, buffer.size, buffer)
    with pytest.raises(ShapeError, match="too short"):
        view(0, buffer.size, buffer)


def test_a_view_keeps_its_bytes_alive(isa: str, draw: Draw) -> None:
    x, weight = draw(3, 4, 64), draw(4, 48, 64)
    expected = kernels.linear(x, kernels.pack(weight))
    packed = kernels.pack(weight)
    gc.collect()
    churn = [np.full(packed.nbytes, 7, np.uint8) for _ in range(50)]
    assert np.array_equal(kernels.linear(x, packed), expected)
    assert len(churn) == 50


def test_a_weight_of_another_instruction_set_is_refused(all_isas: list[str], draw: Draw) -> None:
    if len(all_isas) < 2:
        pytest.skip(
            "one instruction set is under test: FASTFORMERS_ISA is set, or this CPU supports no other"
        )
    x, weight = draw(5, 3, 20), draw(6, 10, 20)
    for packed_for in all_isas:
        packed = kernels.pack(weight, isa=packed_for)
        assert packed.isa == packed_for
        for active in all_isas:
            with kernels.use_isa(active):
                if active == packed_for:
                    assert kernels.linear(x, packed).shape == (3, 10)
                    continue
                for call in _calls_on(x, packed):
                    with pytest.raises(IsaError) as caught:
                        call()
                    message = str(caught.value)
                    assert packed_for in message
                    assert active in message
                    assert "pack it again" in message


def _calls_on(x: Any, packed: kernels.PackedWeight) -> list[Callable[[], Any]]:
    rows = kernels.quantize_rows(x)
    return [
        lambda: kernels.linear(x, packed),
        lambda: kernels.linear(x[:0], packed),
        lambda: kernels.linear_quantized(rows, packed),
        lambda: kernels.linear_to_quantized(x, packed),
        lambda: kernels.matmul_s32(rows.q, packed),
    ]


def _fail_under(isa: str) -> None:
    assert kernels.active_isa() == isa
    raise ZeroDivisionError


def test_use_isa_sets_and_restores(all_isas: list[str]) -> None:
    before = kernels.active_isa()
    with kernels.use_isa(all_isas[-1]):
        assert kernels.active_isa() == all_isas[-1]
        with pytest.raises(ZeroDivisionError), kernels.use_isa(all_isas[0]):
            _fail_under(all_isas[0])
        assert kernels.active_isa() == all_isas[-1]
    assert kernels.active_isa() == before
    with pytest.raises(IsaError, match="sse9") as caught:
        kernels.use_isa("sse9")
    assert all(name in str(caught.value) for name in kernels.built_isas())
    assert kernels.active_isa() == before
