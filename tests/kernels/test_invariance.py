# SPDX-License-Identifier: MIT
"""A row's result depends on that row alone: not on its neighbours, their order, strides, threads, or array kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastformers import kernels

torch = pytest.importorskip("torch")

Draw = Callable[..., NDArray[np.float32]]
Same = Callable[[Any, Any], bool]
RowsFunction = Callable[..., NDArray[np.float32]]

SEEDS = st.integers(0, 2**32 - 1)
ROWS = st.integers(1, 70)
SIZES = st.integers(1, 300)

#: Large enough that two, three and four threads really share the work: by rows, and (13 rows) by columns.
LARGE = [(300, 312, 208), (13, 768, 390), (1, 3072, 768)]


def _linear(depth: int, columns: int, activation: kernels.Activation | None) -> RowsFunction:
    rng = np.random.default_rng(depth * 1009 + columns)
    packed = kernels.pack(rng.standard_normal((columns, depth)).astype(np.float32))
    bias = rng.standard_normal(columns).astype(np.float32)
    factors = rng.uniform(0.5, 2, depth).astype(np.float32)

    def run(x: Any, **options: Any) -> Any:
        return kernels.linear(x, packed, bias, activation=activation, factors=factors, **options)

    return run


def _row_functions(depth: int) -> dict[str, RowsFunction]:
    rng = np.random.default_rng(depth)
    gamma, beta = rng.standard_normal((2, depth)).astype(np.float32)

    def dequantized(x: Any, **options: Any) -> NDArray[np.float32]:
        rows = kernels.quantize_rows(x, **options)
        centred = np.asarray(rows.q)[:, :depth].astype(np.int32) - np.asarray(rows.zero_points)[:, None]
        return centred * np.asarray(rows.scales)[:, None]

    return {
        "layer_norm": lambda x, **options: kernels.layer_norm(x, gamma, beta, **options),
        "softmax": kernels.softmax,
        "gelu": kernels.gelu,
        "quantize_rows": dequantized,
    }


@given(seed=SEEDS, rows=ROWS, columns=SIZES, depth=SIZES, activation=st.sampled_from([None, "relu", "gelu"]))
def test_linear_of_shuffled_and_split_rows(
    isa: str,
    draw: Draw,
    same_bytes: Same,
    seed: int,
    rows: int,
    columns: int,
    depth: int,
    activation: kernels.Activation | None,
) -> None:
    x, run = draw(seed, rows, depth), _linear(depth, columns, activation)
    together = run(x)
    order = np.random.default_rng(seed).permutation(rows)
    assert same_bytes(run(x[order]), together[order])
    cut = seed % rows
    assert same_bytes(np.concatenate([run(x[:cut]), run(x[cut:])]), together)
    assert same_bytes(run(x[cut : cut + 1]), together[cut : cut + 1])


@pytest.mark.parametrize("name", ["layer_norm", "softmax", "gelu", "quantize_rows"])
@given(seed=SEEDS, rows=ROWS, depth=SIZES)
def test_row_operations_of_shuffled_and_split_rows(
    selected_isa: str, draw: Draw, same_bytes: Same, name: str, seed: int, rows: int, depth: int
) -> None:
    x, run = draw(seed, rows, depth), _row_functions(depth)[name]
    together = run(x)
    order = np.random.default_rng(seed).permutation(rows)
    assert same_bytes(run(x[order]), together[order])
    cut = seed % rows
    assert same_bytes(run(x[cut : cut + 1]), together[cut : cut + 1])


@given(seed=SEEDS, rows=ROWS, depth=SIZES, gap=st.integers(1, 40), offset=st.integers(0, 15))
def test_strided_and_unaligned_rows(
    isa: str, draw: Draw, same_bytes: Same, seed: int, rows: int, depth: int, gap: int, offset: int
) -> None:
    run = _linear(depth, 33, None)
    frame = draw(seed, rows, depth + gap + offset)
    view = frame[:, offset : offset + depth]
    expected = run(view.copy())
    assert same_bytes(run(view), expected)
    assert same_bytes(run(view[::-1])[::-1], expected)
    assert same_bytes(run(np.asfortranarray(view)), expected)
    for function in _row_functions(depth).values():
        assert same_bytes(function(view), function(view.copy()))


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_arrays_that_are_not_even_aligned_to_a_float(
    isa: str, draw: Draw, same_bytes: Same, offset: int
) -> None:
    x, bias, packed = draw(20, 6, 50), draw(21, 33), kernels.pack(draw(22, 33, 50))

    def misaligned(array: NDArray[np.float32]) -> NDArray[np.float32]:
        raw = np.frombuffer(bytes(offset) + array.tobytes(), np.uint8)[offset:]
        return raw.view(np.float32).reshape(array.shape)

    assert not misaligned(x).flags.aligned
    expected = kernels.linear(x, packed, bias)
    assert same_bytes(kernels.linear(misaligned(x), packed, misaligned(bias)), expected)
    assert same_bytes(
        kernels.linear(misaligned(x), packed, bias, residual=misaligned(draw(23, 6, 33))),
        kernels.linear(x, packed, bias, residual=draw(23, 6, 33)),
    )
    assert same_bytes(kernels.softmax(misaligned(x)), kernels.softmax(x))


@pytest.mark.parametrize(("rows", "columns", "depth"), LARGE)
@pytest.mark.parametrize("activation", [None, "relu", "gelu", "gelu_tanh"])
def test_linear_on_any_number_of_threads(
    isa: str, draw: Draw, same_bytes: Same, rows: int, columns: int, depth: int, activation: Any
) -> None:
    x, run = draw(rows, rows, depth), _linear(depth, columns, activation)
    residual = draw(rows + 1, rows, columns)
    one = run(x, threads=1, residual=residual)
    for threads in (2, 3, 4):
        assert same_bytes(run(x, threads=threads, residual=residual), one)
    assert kernels.pool_workers() >= 1, "the shapes above are meant to be shared between threads"


@pytest.mark.parametrize("name", ["layer_norm", "softmax", "gelu", "quantize_rows"])
def test_row_operations_on_any_number_of_threads(
    selected_isa: str, draw: Draw, same_bytes: Same, name: str
) -> None:
    x, run = draw(9, 600, 312), _row_functions(312)[name]
    one = run(x, threads=1)
    for threads in (2, 3, 4):
        assert same_bytes(run(x, threads=threads), one)


@pytest.mark.parametrize("name", ["matmul_s32", "linear_quantized", "linear_to_quantized"])
def test_quantized_operations_on_any_number_of_threads(
    isa: str, draw: Draw, same_bytes: Same, name: str
) -> None:
    x, packed = draw(10, 200, 390), kernels.pack(draw(11, 312, 390))
    rows = kernels.quantize_rows(x)
    calls: dict[str, Callable[[int], Any]] = {
        "matmul_s32": lambda threads: kernels.matmul_s32(rows.q, packed, threads=threads),
        "linear_quantized": lambda threads: kernels.linear_quantized(rows, packed, threads=threads),
        "linear_to_quantized": lambda threads: kernels.linear_to_quantized(x, packed, threads=threads).q,
    }
    one = calls[name](1)
    for threads in (2, 3, 4):
        assert np.array_equal(calls[name](threads), one)


@given(seed=SEEDS, rows=ROWS, columns=SIZES, depth=SIZES)
def test_torch_and_numpy_agree_and_keep_their_kind(
    isa: str, draw: Draw, same_bytes: Same, seed: int, rows: int, columns: int, depth: int
) -> None:
    x, weight, bias = draw(seed, rows, depth), draw(seed + 1, columns, depth), draw(seed + 2, columns)
    from_numpy = kernels.linear(x, kernels.pack(weight), bias, activation="relu")
    tensor = torch.from_numpy(x)
    from_torch = kernels.linear(
        tensor, kernels.pack(torch.from_numpy(weight)), torch.from_numpy(bias), activation="relu"
    )
    assert isinstance(from_torch, torch.Tensor)
    assert isinstance(from_numpy, np.ndarray)
    assert same_bytes(from_torch, from_numpy)
    assert same_bytes(kernels.softmax(tensor), kernels.softmax(x))
    transposed = torch.from_numpy(np.ascontiguousarray(x.T)).T
    assert same_bytes(kernels.gelu(transposed), kernels.gelu(x))


@pytest.mark.parametrize("shape", [(30,), (7, 30), (1, 1, 30), (2, 3, 5, 30)], ids=str)
@pytest.mark.parametrize("equalized", [False, True])
def test_plain_tensors_of_any_rank_take_a_short_way_to_the_same_bits(
    isa: str, draw: Draw, same_bytes: Same, shape: tuple[int, ...], equalized: bool
) -> None:
    packed, bias, x = kernels.pack(draw(19, 40, 30)), draw(20, 40), draw(21, *shape)
    factors = np.abs(draw(22, 30)) + np.float32(0.1) if equalized else None
    expected = kernels.linear(
        x, packed, bias, activation="gelu", factors=factors, out=np.empty((*shape[:-1], 40), "f")
    )
    tensors = [None if part is None else torch.from_numpy(part) for part in (bias, factors)]
    short = kernels.linear(torch.from_numpy(x), packed, tensors[0], activation="gelu", factors=tensors[1])
    of_a_subclass = torch.nn.Parameter(torch.from_numpy(x))
    long = kernels.linear(of_a_subclass, packed, bias, activation="gelu", factors=factors)
    for result in (short, long):
        assert result.dtype == torch.float32
        assert not result.requires_grad
        assert same_bytes(result, expected)


@pytest.mark.parametrize("shape", [(0, 30), (2, 0, 30), (0, 2, 30)], ids=str)
def test_no_rows_give_no_rows_of_the_kind_asked_for(draw: Draw, shape: tuple[int, ...]) -> None:
    packed, x = kernels.pack(draw(23, 40, 30)), np.empty(shape, np.float32)
    expected = (*shape[:-1], 40)
    out, frame = np.empty(expected, np.float32), torch.empty(expected)
    assert kernels.linear(x, packed).shape == expected
    assert kernels.linear(x, packed, out=out) is out
    assert kernels.linear(torch.from_numpy(x), packed).shape == expected
    assert kernels.linear(torch.from_numpy(x), packed, out=frame) is frame


def test_torch_tensors_are_read_and_written_in_place(isa: str, draw: Draw) -> None:
    packed = kernels.pack(draw(12, 40, 30))
    frame = torch.from_numpy(draw(13, 10, 64))
    out = torch.zeros(10, 50)[:, 5:45]
    result = kernels.linear(frame[:, 3:33], packed, out=out)
    assert result is out
    assert torch.equal(out, kernels.linear(frame[:, 3:33].contiguous(), packed))


def test_inputs_are_left_as_they_were(isa: str, draw: Draw) -> None:
    x, residual = draw(14, 20, 33), draw(15, 20, 17)
    packed, bias, factors = (
        kernels.pack(draw(16, 17, 33)),
        draw(17, 17),
        np.abs(draw(18, 33)) + np.float32(0.1),
    )
    inputs = (x, residual, bias, factors)
    before = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    kernels.linear(x, packed, bias, activation="gelu", factors=factors, residual=residual)
    kernels.layer_norm(x, factors, factors, residual=x)
    kernels.softmax(x)
    for array, copy in zip(inputs, before, strict=True):
        assert np.array_equal(array, copy)
