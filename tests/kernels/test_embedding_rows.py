# SPDX-License-Identifier: MIT
"""Row-wise int8 embedding tables: the nearest step of each row's own scale, and as close as fbgemm's."""

from __future__ import annotations

import numpy as np
import pytest

from fastformers.errors import DtypeError, NonFiniteError, ShapeError
from fastformers.kernels import quantize_embedding_rows

SHAPES = [(1, 1), (3, 5), (4_095, 3), (4_096, 2), (4_097, 7), (9_000, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_rounded_to_the_nearest_step_halves_to_even(shape: tuple[int, int]) -> None:
    table = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    rounded, scales = quantize_embedding_rows(table)
    largest = np.abs(table).max(axis=1)
    assert (rounded.dtype, scales.dtype) == (np.int8, np.float32)
    assert np.array_equal(scales, largest / np.float32(127))
    assert np.array_equal(rounded, np.clip(np.rint(table / scales[:, None]), -127, 127))
    error = np.abs(rounded * scales[:, None].astype(np.float64) - table)
    assert (error <= scales[:, None] * (0.5 + 1e-5)).all()  # the quotient is rounded to float32: 127 / 2^24


def test_halves_go_to_even() -> None:
    rounded, scales = quantize_embedding_rows(np.float32([[127, 0.5, 1.5, 2.5, -0.5, -1.5]]))
    assert scales[0] == 1
    assert rounded[0].tolist() == [127, 0, 2, 2, 0, -2]


def test_rows_of_zeros_stay_zeros() -> None:
    rounded, scales = quantize_embedding_rows(np.zeros((3, 4), dtype=np.float32))
    assert not rounded.any()
    assert not scales.any()


def test_a_row_does_not_depend_on_the_others() -> None:
    table = np.random.default_rng(1).normal(0, 1, (5_000, 6)).astype(np.float32)
    whole, scales = quantize_embedding_rows(table)
    alone, scale = quantize_embedding_rows(table[4_500:4_501])
    assert np.array_equal(whole[4_500:4_501], alone)
    assert scales[4_500] == scale[0]


def test_what_is_no_table_of_finite_float32_is_refused() -> None:
    with pytest.raises(NonFiniteError):
        quantize_embedding_rows(np.float32([[1, np.nan]]))
    with pytest.raises(DtypeError):
        quantize_embedding_rows(np.zeros((2, 2)))
    with pytest.raises(ShapeError):
        quantize_embedding_rows(np.zeros(3, dtype=np.float32))


def test_as_close_to_the_table_as_the_row_wise_op_of_fbgemm() -> None:
    """Fbgemm rounds each row to 255 steps from its least to its largest value; ours are 254, symmetric about 0."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("fbgemm_gpu", reason="the extra fbgemm (fbgemm-gpu-cpu) is not installed")
    table = np.random.default_rng(2).normal(0, 0.05, (3_000, 64)).astype(np.float32)
    fused = torch.ops.fbgemm.FloatToFused8BitRowwiseQuantized(torch.from_numpy(table))
    theirs = torch.ops.fbgemm.Fused8BitRowwiseQuantizedToFloat(fused).numpy()
    rounded, scales = quantize_embedding_rows(table)
    ours = rounded * scales[:, None]
    their_step = (table.max(axis=1) - table.min(axis=1)) / 255
    half_steps = (scales + their_step) / 2
    assert (np.abs(ours - theirs) <= half_steps[:, None] * 1.001).all()
    # Symmetric steps are at most 2 * max|x| / (max - min) as wide: on average 1.14 for 64 normal values.
    assert np.sqrt(np.mean((ours - table) ** 2)) <= 1.25 * np.sqrt(np.mean((theirs - table) ** 2))
