# SPDX-License-Identifier: MIT
"""Whatever a caller can get wrong is refused before anything is computed; the message has the value and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastformers import kernels
from fastformers._arrays import empty_like_kind
from fastformers.errors import (
    ConfigError,
    DeviceError,
    DtypeError,
    FastformersError,
    IsaError,
    NonFiniteError,
    ShapeError,
)

torch = pytest.importorskip("torch")

X = np.ones((4, 20), np.float32)
BIAS = np.zeros(10, np.float32)
FACTORS = np.ones(20, np.float32)
RESIDUAL = np.zeros((4, 10), np.float32)
BUFFER = np.zeros((8, 20), np.float32)


def read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


#: name -> (arguments of linear that differ from good ones, error, what the message must say)
LINEAR: dict[str, tuple[dict[str, Any], type[FastformersError], list[str]]] = {
    "x is float64": (
        {"x": X.astype(np.float64)},
        DtypeError,
        ["x must be float32", "float64", "astype('float32')"],
    ),
    "x is float16": ({"x": X.astype(np.float16)}, DtypeError, ["float16", "astype"]),
    "x is big-endian": ({"x": X.astype(">f4")}, DtypeError, [">f4", "astype"]),
    "x is a list": ({"x": X.tolist()}, DtypeError, ["numpy array or a CPU torch tensor", "list"]),
    "x is None": ({"x": None}, DtypeError, ["NoneType"]),
    "x is a scalar": ({"x": np.array(1, np.float32)}, ShapeError, ["at least one dimension"]),
    "x has another K": ({"x": X[:, :19]}, ShapeError, ["x has shape [4, 19]", "20"]),
    "x is torch bfloat16": (
        {"x": torch.ones(4, 20, dtype=torch.bfloat16)},
        DtypeError,
        ["bfloat16", ".to(torch.float32)"],
    ),
    "x is on another device": (
        {"x": torch.ones(4, 20, device="meta")},
        DeviceError,
        ["x is on meta", ".cpu()"],
    ),
    "x is sparse": ({"x": torch.ones(4, 20).to_sparse()}, DeviceError, ["sparse", "dense CPU tensor"]),
    "x is in oneDNN's layout": (
        {"x": torch.ones(4, 20).to_mkldnn()},
        DeviceError,
        ["mkldnn", "dense CPU tensor"],
    ),
    "x is lazily negated": ({"x": torch._neg_view(torch.ones(4, 20))}, DtypeError, ["x.resolve_neg()"]),
    "the tensors' bias has another length": (
        {"x": torch.ones(4, 20), "bias": torch.ones(9)},
        ShapeError,
        ["bias has shape [9]", "[10]"],
    ),
    "the tensors' factors are float64": (
        {"x": torch.ones(4, 20), "factors": torch.ones(20, dtype=torch.float64)},
        DtypeError,
        ["factors must be float32"],
    ),
    "the tensor's rows are too short": (
        {"x": torch.ones(2, 19)},
        ShapeError,
        ["x has shape [2, 19]", "20"],
    ),
    "the tensor is a scalar": ({"x": torch.tensor(1.0)}, ShapeError, ["at least one dimension"]),
    "bias is big-endian": ({"bias": BIAS.astype(">f4")}, DtypeError, ["bias", ">f4"]),
    "factors are big-endian": ({"factors": FACTORS.astype(">f4")}, DtypeError, ["factors", ">f4"]),
    "bias has another length": ({"bias": BIAS[:9]}, ShapeError, ["bias has shape [9]", "[10]"]),
    "bias has two dimensions": ({"bias": BIAS[None]}, ShapeError, ["bias has shape [1, 10]", "[10]"]),
    "bias is float64": ({"bias": BIAS.astype(np.float64)}, DtypeError, ["bias must be float32", "float64"]),
    "factors have another length": (
        {"factors": FACTORS[:10]},
        ShapeError,
        ["factors has shape [10]", "[20]"],
    ),
    "factors are float64": ({"factors": FACTORS.astype(np.float64)}, DtypeError, ["factors must be float32"]),
    "residual has another shape": (
        {"residual": RESIDUAL[:3]},
        ShapeError,
        ["residual has shape [3, 10]", "[4, 10]"],
    ),
    "residual is an integer": ({"residual": RESIDUAL.astype(np.int32)}, DtypeError, ["residual", "int32"]),
    "out has another shape": (
        {"out": np.zeros((4, 9), np.float32)},
        ShapeError,
        ["out has shape [4, 9]", "[4, 10]"],
    ),
    "out is float64": ({"out": np.zeros((4, 10))}, DtypeError, ["out must be float32", "float64"]),
    "out is read-only": ({"out": read_only(RESIDUAL)}, ShapeError, ["out must be writable"]),
    "out is in Fortran order": (
        {"out": np.zeros((10, 4), np.float32).T},
        ShapeError,
        ["out", "strides (1, 4)"],
    ),
    "out repeats one row": ({"out": np.broadcast_to(BIAS, (4, 10))}, ShapeError, ["out"]),
    "out overlaps x": ({"x": BUFFER[:4], "out": BUFFER[2:6, :10]}, ShapeError, ["out must not overlap x"]),
    "activation is unknown": ({"activation": "swish"}, ConfigError, ["'swish'", "relu", "gelu_tanh"]),
    "threads is zero": ({"threads": 0}, ConfigError, ["threads must be at least 1", "0"]),
    "threads is negative": ({"threads": -2}, ConfigError, ["-2"]),
}


@pytest.mark.parametrize("case", LINEAR)
def test_linear_refuses(case: str) -> None:
    changes, error, says = LINEAR[case]
    arguments: dict[str, Any] = {"x": X, "bias": BIAS, **changes}
    out = arguments.get("out")
    before = None if out is None else out.copy()
    with pytest.raises(error) as caught:
        kernels.linear(weight=kernels.pack(np.ones((10, 20), np.float32)), **arguments)
    assert all(part in str(caught.value) for part in says), str(caught.value)
    assert before is None or np.array_equal(out, before), "out was written although the call was refused"


def nan_weight(value: float) -> NDArray[np.float32]:
    weight = np.ones((3, 5), np.float32)
    weight[1, 4] = value
    return weight


#: name -> (call, error, what the message must say)
CALLS: dict[str, tuple[Callable[[], Any], type[FastformersError], list[str]]] = {
    "pack: K too large": (
        lambda: kernels.pack(np.zeros((1, 65_537), np.int8), np.ones(1, np.float32)),
        ShapeError,
        ["K", "65536", "65537", "split the layer"],
    ),
    "pack: K is 0": (lambda: kernels.pack(np.zeros((3, 0), np.float32)), ShapeError, ["K", "0"]),
    "pack: N is 0": (lambda: kernels.pack(np.zeros((0, 3), np.float32)), ShapeError, ["N", "0"]),
    "pack: one dimension": (lambda: kernels.pack(np.zeros(3, np.float32)), ShapeError, ["[N, K]", "[3]"]),
    "pack: NaN": (lambda: kernels.pack(nan_weight(np.nan)), NonFiniteError, ["[1, 4]", "nan"]),
    "pack: Inf": (lambda: kernels.pack(nan_weight(-np.inf)), NonFiniteError, ["[1, 4]", "-inf"]),
    "pack: float64": (lambda: kernels.pack(np.zeros((3, 3))), DtypeError, ["weight", "float64", "float32"]),
    "pack: int8 without scales": (lambda: kernels.pack(np.zeros((3, 3), np.int8)), DtypeError, ["scales"]),
    "pack: scales with float32": (
        lambda: kernels.pack(np.zeros((3, 3), np.float32), np.ones(3, np.float32)),
        DtypeError,
        ["int8", "scales"],
    ),
    "pack: -128": (
        lambda: kernels.pack(np.array([[1, 2], [3, -128]], np.int8), np.ones(2, np.float32)),
        ShapeError,
        ["[1, 1]", "-128", "[-127, 127]"],
    ),
    "pack: too few scales": (
        lambda: kernels.pack(np.zeros((3, 3), np.int8), np.ones(2, np.float32)),
        ShapeError,
        ["scales has shape [2]", "[3]"],
    ),
    "pack: unknown instruction set": (
        lambda: kernels.pack(np.ones((3, 3), np.float32), isa="sse9"),
        IsaError,
        ["sse9", "reference"],
    ),
    "linear_quantized: q is int8": (
        lambda: kernels.linear_quantized(
            kernels.QuantizedRows(np.zeros((2, 20), np.int8), BIAS[:2], np.zeros(2, np.int32), 20),
            kernels.pack(np.ones((10, 20), np.float32)),
        ),
        DtypeError,
        ["q must be uint8", "int8"],
    ),
    "linear_quantized: another K that is padded to the same width": (
        lambda: kernels.linear_quantized(
            kernels.quantize_rows(X[:, :17]), kernels.pack(np.ones((10, 20), np.float32))
        ),
        ShapeError,
        ["K = 17", "20"],
    ),
    "linear_quantized: too few zero points": (
        lambda: kernels.linear_quantized(
            kernels.QuantizedRows(np.zeros((2, 20), np.uint8), BIAS[:2], np.zeros(1, np.int32), 20),
            kernels.pack(np.ones((10, 20), np.float32)),
        ),
        ShapeError,
        ["zero_points has shape [1]", "[2]"],
    ),
    "matmul_s32: rows not padded to 4": (
        lambda: kernels.matmul_s32(np.zeros((2, 18), np.uint8), kernels.pack(np.ones((10, 18), np.float32))),
        ShapeError,
        ["q has shape [2, 18]", "20"],
    ),
    "quantize_rows: one dimension": (
        lambda: kernels.quantize_rows(BIAS),
        ShapeError,
        ["two dimensions", "[10]"],
    ),
    "quantize_rows: no columns": (lambda: kernels.quantize_rows(X[:, :0]), ShapeError, ["K", "0"]),
    "quantize_rows: factors": (
        lambda: kernels.quantize_rows(X, BIAS),
        ShapeError,
        ["factors has shape [10]", "[20]"],
    ),
    "layer_norm: gamma": (
        lambda: kernels.layer_norm(X, BIAS, FACTORS),
        ShapeError,
        ["gamma has shape [10]", "[20]"],
    ),
    "layer_norm: epsilon": (
        lambda: kernels.layer_norm(X, FACTORS, FACTORS, -1.0),
        ShapeError,
        ["epsilon", "-1"],
    ),
    "layer_norm: no columns": (
        lambda: kernels.layer_norm(X[:, :0], FACTORS[:0], FACTORS[:0]),
        ShapeError,
        ["at least one column"],
    ),
    "softmax: no columns": (lambda: kernels.softmax(X[:, :0]), ShapeError, ["at least one column"]),
    "softmax: float64": (lambda: kernels.softmax(X.astype(np.float64)), DtypeError, ["x must be float32"]),
    "gelu: approximate": (
        lambda: kernels.gelu(X, approximate="sigmoid"),  # type: ignore[arg-type]
        ConfigError,
        ["'sigmoid'", "'none'", "'tanh'"],
    ),
    "ceiling_gflops: reference": (lambda: kernels.ceiling_gflops("reference"), IsaError, ["reference"]),
    "ceiling_gflops: unknown": (lambda: kernels.ceiling_gflops("sse9"), IsaError, ["sse9", "reference"]),
    "ceiling_gops: reference": (lambda: kernels.ceiling_gops("reference"), IsaError, ["reference"]),
    "ceiling_gops: unknown": (lambda: kernels.ceiling_gops("sse9"), IsaError, ["sse9", "reference"]),
    "set_num_threads: 0": (lambda: kernels.set_num_threads(0), ShapeError, ["threads", "0", "1024"]),
    "set_num_threads: 100000": (lambda: kernels.set_num_threads(100_000), ShapeError, ["100000", "1024"]),
}


@pytest.mark.parametrize("case", CALLS)
def test_refuses(case: str) -> None:
    call, error, says = CALLS[case]
    with pytest.raises(error) as caught:
        call()
    assert all(part in str(caught.value) for part in says), str(caught.value)


@pytest.mark.parametrize(
    ("scale", "error"), [(np.nan, NonFiniteError), (np.inf, NonFiniteError), (-1.0, ShapeError)]
)
def test_scales_must_be_finite_and_not_negative(scale: float, error: type[FastformersError]) -> None:
    scales = np.array([1, scale], np.float32)
    with pytest.raises(error, match=r"scale of column 1 .*(nan|inf|-1)"):
        kernels.pack(np.ones((2, 3), np.int8), scales)


def test_every_error_is_one_of_ours_and_a_built_in_one() -> None:
    with pytest.raises(ValueError, match="K"):
        kernels.pack(np.zeros((3, 0), np.float32))
    with pytest.raises(TypeError, match="float64"):
        kernels.pack(np.zeros((3, 3)))


def test_a_good_call_works_after_refused_ones(selected_isa: str) -> None:
    packed = kernels.pack(np.ones((10, 20), np.float32))
    for changes, error, _ in LINEAR.values():
        with pytest.raises(error):
            kernels.linear(**{"x": X, "weight": packed, "bias": BIAS, **changes})
    assert np.all(np.abs(kernels.linear(X, packed, BIAS) - 20) < 1e-4)


def test_results_are_on_the_cpu_whatever_torchs_default_device_is() -> None:
    x, weight = torch.from_numpy(X), kernels.pack(np.ones((10, 20), np.float32))
    with torch.device("meta"):
        made = empty_like_kind(x, (4, 10))
        assert made.device.type == "cpu"  # looked at first: to write to another one would end the process
        found = kernels.linear(x, weight, per_tensor=True)
    assert found.device.type == "cpu"
    assert bool(torch.isfinite(found).all())
