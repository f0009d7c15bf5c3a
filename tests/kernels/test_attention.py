# SPDX-License-Identifier: MIT
"""Attention on its own against a plain NumPy computation, on odd shapes, every instruction set and hostile numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fastformers import kernels
from fastformers.errors import ConfigError, ShapeError

Array = np.ndarray[Any, Any]

# (lengths of the sequences, heads, head size)
SHAPES = [
    ((1,), 1, 1),
    ((5, 1, 17), 2, 26),
    ((16,), 12, 32),
    ((33, 7), 3, 64),
    ((130,), 2, 13),
    ((9, 300), 1, 32),
]


def draw(lengths: tuple[int, ...], heads: int, size: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(sum(lengths) + heads + size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return rng.standard_normal((offsets[-1], 3 * heads * size)).astype(np.float32), offsets


def expected(
    qkv: Array, offsets: Array, heads: int, window: int | None = None, bias: Array | None = None
) -> Array:
    """float64, one head of one sequence after the other."""
    size = qkv.shape[1] // 3 // heads
    out = np.empty((len(qkv), heads * size))
    for first, last in pairwise(offsets):
        rows = qkv[first:last].astype(np.float64).reshape(last - first, 3, heads, size)
        distance = np.arange(last - first)[None, :] - np.arange(last - first)[:, None]
        for head in range(heads):
            q, k, v = rows[:, 0, head], rows[:, 1, head], rows[:, 2, head]
            scores = q @ k.T / np.sqrt(size)
            if bias is not None:
                scores += bias[head][distance + (bias.shape[1] - 1) // 2]
            if window is not None:
                scores[np.abs(distance) > window] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[first:last, head * size : (head + 1) * size] = weights / weights.sum(1, keepdims=True) @ v
    return out


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize(("lengths", "heads", "size"), SHAPES)
def test_float_products_agree_with_plain_attention(
    lengths: tuple[int, ...], heads: int, size: int, isa: str
) -> None:
    qkv, offsets = draw(lengths, heads, size)
    with kernels.use_isa(isa):
        found = kernels.attention(qkv, heads, offsets=offsets, products="float32")
    # Chains of up to 300 float32 additions of values near 1: about 300 * 6e-8 relative at worst.
    np.testing.assert_allclose(found, expected(qkv, offsets, heads), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize(("lengths", "heads", "size"), SHAPES)
def test_int8_products_stay_within_their_noise(
    lengths: tuple[int, ...], heads: int, size: int, isa: str
) -> None:
    qkv, offsets = draw(lengths, heads, size)
    with kernels.use_isa(isa):
        found = kernels.attention(qkv, heads, offsets=offsets, products="int8")
    wanted = expected(qkv, offsets, heads)
    # 8-bit operands give 37 dB on random data, an error of 1.4 %; averages over few keys do not cancel it.
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.03


@pytest.mark.parametrize("products", ["float32", "int8"])
@pytest.mark.parametrize(("lengths", "heads", "size"), SHAPES)
def test_all_instruction_sets_and_thread_counts_give_the_same_bits(
    lengths: tuple[int, ...], heads: int, size: int, products: Any
) -> None:
    qkv, offsets = draw(lengths, heads, size)
    found = []
    for isa in kernels.available_isas():
        with kernels.use_isa(isa):
            found += [
                kernels.attention(qkv, heads, offsets=offsets, products=products, threads=threads)
                for threads in (1, 3)
            ]
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("products", ["auto", "float32", "int8"])
def test_a_sequence_does_not_depend_on_its_batch_mates(products: Any) -> None:
    qkv, offsets = draw((40, 3, 18), 2, 32)
    together = kernels.attention(qkv, 2, offsets=offsets, products=products)
    for first, last in pairwise(offsets):
        alone = kernels.attention(qkv[first:last].copy(), 2, products=products)
        assert np.array_equal(alone, together[first:last])


def test_a_batch_of_equal_lengths_needs_no_offsets() -> None:
    qkv, offsets = draw((11, 11, 11), 2, 8)
    batch = kernels.attention(qkv.reshape(3, 11, -1), 2)
    assert batch.shape == (3, 11, 16)
    assert np.array_equal(batch.reshape(33, 16), kernels.attention(qkv, 2, offsets=offsets))


@pytest.mark.parametrize("products", ["float32", "int8"])
def test_windows_and_biases_count(products: Any) -> None:
    qkv, offsets = draw((30, 21), 2, 16)
    bias = np.random.default_rng(1).standard_normal((2, 2 * 40 - 1)).astype(np.float32)
    found = kernels.attention(qkv, 2, offsets=offsets, window=4, relative_bias=bias, products=products)
    wanted = expected(qkv, offsets, 2, 4, bias)
    # As in the tests above.
    assert (
        np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))
        < {"float32": 2e-6, "int8": 0.03}[products]
    )


@pytest.mark.parametrize("products", ["float32", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_spoils_its_own_head_and_sequence_alone(products: Any, value: float) -> None:
    qkv, offsets = draw((20, 20), 2, 8)
    clean = kernels.attention(qkv, 2, offsets=offsets, products=products)
    qkv[3, 16] = value  # a key of head 0 in the first sequence
    found = kernels.attention(qkv, 2, offsets=offsets, products=products)
    if products == "int8" or np.isnan(value):  # in float32 an infinite key has weight 0 or 1, by its sign
        assert np.isnan(found[:20, :8]).all()
    assert np.array_equal(found[:20, 8:], clean[:20, 8:])
    assert np.array_equal(found[20:], clean[20:])


def test_torch_tensors_stay_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    qkv, _ = draw((6,), 2, 8)
    found = kernels.attention(torch.from_numpy(qkv), 2)
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(found.numpy(), kernels.attention(qkv, 2))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"heads": 0}, ConfigError, "at least 1 head"),
        ({"heads": 5}, ShapeError, "with 5 heads"),
        ({"window": -1}, ConfigError, "no negative window"),
        ({"products": "int4"}, ConfigError, "'float32'"),
        ({"offsets": np.array([0, 3, 3, 8])}, ShapeError, "sequence 1 has 0 tokens"),
        ({"offsets": np.array([0, 7])}, ShapeError, "number of tokens, 8"),
        ({"offsets": np.array([1, 8])}, ShapeError, "begin with 1"),
        ({"offsets": np.array([0.0, 8.0])}, ShapeError, "int64"),
        ({"relative_bias": np.zeros((2, 13), np.float32)}, ShapeError, "at most 7"),
        ({"relative_bias": np.zeros((3, 15), np.float32)}, ShapeError, "2 \\* max_tokens - 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    qkv, _ = draw((8,), 2, 8)
    with pytest.raises(error, match=words):
        kernels.attention(qkv, **{"heads": 2, **changes})
