# SPDX-License-Identifier: MIT
"""The kernels on NumPy arrays and CPU torch tensors: pack once, multiply often.

This is the only module that imports the compiled core. Arrays are used in place (no copies); results are of the
input's kind. M = rows (tokens), K = depth (in_features), N = columns (out_features).

Numerics (all instruction sets give the same bits): weights are s8 in [-127, 127] with one scale for each column;
activations become u8 with a scale and a zero point for each row, on the fly; products are summed exactly in int32.
A row's result depends on that row alone. A row that holds NaN or Inf yields a NaN row; an all-zero row yields the bias.

Example:
    >>> import numpy as np, fastformers as ff
    >>> rng = np.random.default_rng(0)
    >>> w = rng.normal(size=(768, 384)).astype(np.float32)
    >>> packed = ff.kernels.pack(w)
    >>> y = ff.kernels.linear(rng.normal(size=(5, 384)).astype(np.float32), packed, activation="relu")
    >>> y.shape
    (5, 768)
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from fastformers import _core
from fastformers._arrays import (
    Matrix,
    address_of,
    aligned_empty,
    empty_like_kind,
    is_torch,
    matrix_of,
    out_matrix,
    plain_tensor_address,
    vector_of,
)
from fastformers._core import Encoder as NativeEncoder
from fastformers._core import InstancePool, PackedWeight, Ticket
from fastformers.errors import ConfigError, DtypeError, NonFiniteError, ShapeError

if TYPE_CHECKING:
    from types import TracebackType

    from fastformers._arrays import Array

__all__ = [
    "ACTIVATIONS",
    "MAX_DEPTH",
    "Activation",
    "InstancePool",
    "NativeEncoder",
    "PackedWeight",
    "QuantizedRows",
    "Ticket",
    "active_isa",
    "attention",
    "available_isas",
    "built_isas",
    "ceiling_gflops",
    "ceiling_gops",
    "cpu_facts",
    "cpus_by_core",
    "default_threads",
    "empty_packed_buffer",
    "gelu",
    "last_used_isa",
    "layer_norm",
    "layer_norm_quantized",
    "linear",
    "linear_quantized",
    "linear_to_quantized",
    "matmul_s32",
    "num_threads",
    "pack",
    "pack_canonical",
    "pool_workers",
    "quantize_embedding_rows",
    "quantize_rows",
    "quantize_weight",
    "read_bandwidth",
    "set_num_threads",
    "softmax",
    "time_linear",
    "use_isa",
]

MAX_DEPTH: int = _core.MAX_DEPTH
Activation: TypeAlias = Literal["relu", "gelu", "gelu_tanh"]
#: The number the core knows an activation by.
ACTIVATIONS: dict[Activation | None, int] = {None: 0, "relu": 1, "gelu": 2, "gelu_tanh": 3}

#: The number the core knows a kind of attention products by.
_PRODUCTS = {"auto": 0, "float32": 1, "int8": 2}
_EMBEDDING_ROWS = 4_096
_A = TypeVar("_A", bound="Array")


@dataclass(frozen=True)
class QuantizedRows:
    """Rows of u8 with their parameters: x[m, k] is about (q[m, k] - zero_points[m]) * scales[m].

    Attributes:
        q: u8, shape [M, K rounded up to a multiple of 4]; the extra bytes are 0.
        scales: float32, shape [M]; NaN for a row that held NaN or Inf, 0 for a row of zeros.
        zero_points: int32, shape [M], in [0, 255].
        depth: K.
    """

    q: Any
    scales: Any
    zero_points: Any
    depth: int


class use_isa:
    """Chooses the instruction set of all later calls in this process; as a context manager, for a while.

    Args:
        name: one of :func:`available_isas`.

    Raises:
        IsaError: unknown or unsupported here; the message lists the choices.

    Example:
        >>> with use_isa("reference"):
        ...     y = linear(x, pack(w))
    """

    def __init__(self, name: str) -> None:
        self._before = _core.active_isa()
        _core.set_active_isa(name)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _core.set_active_isa(self._before)


def available_isas() -> list[str]:
    """Instruction sets that are built in and supported by this CPU and operating system, best first."""
    return _core.supported_isas()


def built_isas() -> list[str]:
    """Instruction sets that this build holds kernels for, best first."""
    return _core.built_isas()


def active_isa() -> str:
    """The instruction set in use: :class:`use_isa`, else ``FASTFORMERS_ISA``, else the best supported one."""
    return _core.active_isa()


def last_used_isa() -> str:
    """The instruction set the last matmul of this process ran on; ``"none"`` before the first."""
    return _core.last_used_isa()


def cpu_facts() -> dict[str, Any]:
    """What the core knows of this machine: model, instruction sets, cores, quota, caches (bytes), memory."""
    return _core.cpu_facts()


def cpus_by_core() -> list[int]:
    """Logical CPUs that this process may run on, one of each core before the second of any, as engines pin."""
    return _core.cpus_by_core()


def default_threads() -> int:
    """min(physical cores in the affinity mask, cgroup quota), or ``FASTFORMERS_NUM_THREADS``."""
    return _core.default_threads()


def num_threads() -> int:
    """The thread count of calls that name none."""
    return _core.num_threads()


def set_num_threads(threads: int) -> None:
    """Sets the thread count of calls that name none (1 to 1,024)."""
    _core.set_num_threads(threads)


def pool_workers() -> int:
    """Worker threads alive in this process."""
    return _core.pool_workers()


def ceiling_gops(isa: str | None = None, threads: int = 1, seconds: float = 0.05) -> float:
    """Billions of u8 x s8 operations per second a register-only loop reaches on this machine now.

    Args:
        isa: instruction set, default the active one. ``reference`` has no such limit.
        threads: threads that run the loop at once.
        seconds: how long to look; the best of the repetitions counts.

    Raises:
        IsaError: unknown, unsupported or ``reference``.
    """
    return _core.ceiling_gops(isa or _core.active_isa(), threads, seconds)


def ceiling_gflops(isa: str | None = None, threads: int = 1, seconds: float = 0.05) -> float:
    """Billions of float32 operations (2 per fma) per second a register-only loop reaches on this machine now.

    Args:
        isa: instruction set, default the active one. ``reference`` has no such limit.
        threads: threads that run the loop at once.
        seconds: how long to look; the best of the repetitions counts.

    Raises:
        IsaError: unknown, unsupported or ``reference``.
    """
    return _core.ceiling_gflops(isa or _core.active_isa(), threads, seconds)


def read_bandwidth(nbytes: int, seconds: float = 0.05) -> float:
    """GB/s at which one thread reads ``nbytes`` again and again: the rate of the cache level that holds them."""
    return _core.read_bandwidth_gbps(nbytes, seconds)


def _activation_code(activation: Activation | None) -> int:
    if activation not in ACTIVATIONS:
        raise ConfigError(f"activation must be one of {list(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return 0
    if threads < 1:
        raise ConfigError(f"threads must be at least 1 (or None for the default), got {threads}")
    return threads


def _to_numpy(array: Any) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = array.detach().numpy() if is_torch(array) else array
    return result


def quantize_weight(weight: Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rounds float32 weights, shape [N, K], to the nearest of s8 in [-127, 127] with one scale for each column.

    Returns:
        (s8 weights of shape [N, K], float32 scales of shape [N]); scale = max |w_n| / 127, 0 for a column of zeros.

    Raises:
        NonFiniteError: a weight is NaN or infinite; the message gives the first one's place.
    """
    matrix = matrix_of(weight, "weight")
    values = np.ascontiguousarray(_to_numpy(matrix.owner))
    if values.ndim != 2:
        raise ShapeError(f"weight must have shape [N, K], got {list(values.shape)}")
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise NonFiniteError(
            f"weight [{row}, {column}] is {values[row, column]}; packed weights must be finite"
        )
    largest = np.abs(values).max(axis=1, initial=0.0)
    scales = (largest / np.float32(127)).astype(np.float32)
    safe = np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1))
    rounded = np.clip(np.rint(values / safe[:, None]), -127, 127)
    rounded[scales < np.finfo(np.float32).tiny] = 0
    return rounded.astype(np.int8), np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(0))


def quantize_embedding_rows(
    table: Array, name: str = "table"
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rounds an embedding table, float32 of shape [rows, K], to s8 in [-127, 127] with one scale for each row.

    A row becomes about ``q * scale`` with scale = max |row| / 127, halves rounded to even. The table is gone through
    4,096 rows at a time: beyond the result it costs a few MB.

    Args:
        table: the values.
        name: what error messages call it.

    Returns:
        (s8 table of shape [rows, K], float32 scales of shape [rows]); a row of zeros has scale 0.

    Raises:
        NonFiniteError: a value is NaN or infinite; the message gives the table's name and the row.
        DtypeError, ShapeError: not float32, or not two-dimensional.

    Example:
        >>> q, scale = quantize_embedding_rows(np.array([[1.27, -0.635]], dtype=np.float32))
        >>> q.tolist()
        [[127, -64]]
    """
    values = _to_numpy(_two_dimensional(matrix_of(table, name), name).owner)
    rounded = np.empty(values.shape, dtype=np.int8)
    scales = np.empty(values.shape[0], dtype=np.float32)
    for start in range(0, len(values), _EMBEDDING_ROWS):
        rows = slice(start, start + _EMBEDDING_ROWS)
        wrong = ~np.isfinite(values[rows]).all(axis=1)
        if wrong.any():
            raise NonFiniteError(f"row {start + int(wrong.argmax())} of {name} holds NaN or infinity")
        rounded[rows], scales[rows] = quantize_weight(values[rows])
    return rounded, scales


def empty_packed_buffer(columns: int, depth: int, isa: str | None = None) -> np.ndarray[Any, Any]:
    """An uninitialised u8 buffer, aligned to 64 bytes, that holds a packed [N, K] weight of this instruction set."""
    return aligned_empty((PackedWeight.nbytes_for(columns, depth, isa),), "uint8")


def pack_canonical(weight: Array, scales: Array, isa: str | None = None) -> PackedWeight:
    """Packs canonical s8 weights, shape [N, K] in [-127, 127], with float32 scales, shape [N]."""
    matrix = matrix_of(weight, "weight", "int8")
    values = np.ascontiguousarray(_to_numpy(matrix.owner))
    if values.ndim != 2:
        raise ShapeError(f"weight must have shape [N, K], got {list(values.shape)}")
    _, owner = vector_of(scales, "scales", values.shape[0])
    columns, depth = values.shape
    return PackedWeight.pack(values, _to_numpy(owner), empty_packed_buffer(columns, depth, isa), isa)


def pack(weight: Array, scales: Array | None = None, *, isa: str | None = None) -> PackedWeight:
    """Packs a weight once, for any number of :func:`linear` calls under the same instruction set.

    Args:
        weight: float32, shape [N, K] (torch's ``nn.Linear.weight``), rounded to nearest; or s8 in [-127, 127].
        scales: float32, shape [N]; only, and always, with s8 weights.
        isa: instruction set to pack for, default the active one.

    Raises:
        ShapeError: not two-dimensional, N < 1, or K outside [1, 65,536].
        NonFiniteError: a weight is NaN or infinite.
        DtypeError: neither float32 nor int8, or int8 without scales.
        IsaError: ``isa`` is unknown or unsupported here.
    """
    is_int8 = str(getattr(weight, "dtype", "")).removeprefix("torch.") == "int8"
    if is_int8 != (scales is not None):
        raise DtypeError("pass int8 weights together with their scales, or float32 weights alone")
    if scales is not None:
        return pack_canonical(weight, scales, isa)
    return pack_canonical(*quantize_weight(weight), isa)


def _out(x: Any, out: Any | None, shape: tuple[int, ...]) -> Matrix:
    if out is not None:
        return out_matrix(out, "out", shape)
    array = empty_like_kind(x, shape)
    return Matrix(address_of(array), math.prod(shape[:-1]), shape[-1], shape[-1], shape, array)


def linear(
    x: _A,
    weight: PackedWeight,
    bias: Array | None = None,
    *,
    activation: Activation | None = None,
    factors: Array | None = None,
    residual: Array | None = None,
    out: _A | None = None,
    per_tensor: bool = False,
    threads: int | None = None,
) -> _A:
    """INT8 linear layer on float activations: ``activation(x @ w.T + bias) + residual``.

    Args:
        x: float32, shape [..., K]; numpy or CPU torch. Rows may be strided; the last dimension is contiguous
            (other layouts are copied once).
        weight: from :func:`pack`.
        bias: float32, shape [N], finite (not checked here: ReLU would turn some NaN of it into 0).
        activation: ``"relu"``, ``"gelu"`` (erf) or ``"gelu_tanh"``, fused into the matmul.
        factors: float32, shape [K]; multiply the inputs before quantization (equalisation, see
            ``fastformers.Int8Config``); the weights were divided by them before rounding.
        residual: float32, shape [..., N], added after the activation.
        out: where to write, shape [..., N]; may be ``residual``, must not overlap ``x``.
        per_tensor: one activation range for the whole of ``x`` (the paper's scheme); rows then affect each other.
        threads: default :func:`num_threads`. The result does not depend on it.

    Returns:
        float32, shape [..., N], of the kind of ``x``. Zero rows give zero rows.

    Raises:
        ShapeError, DtypeError, DeviceError: an argument that does not fit; the message names it and the remedy.
        IsaError: ``weight`` was packed for another instruction set than the active one.

    Source: paper section 2.4 (INT8 with prepacked weights and fused epilogues).
    """
    if residual is None and out is None and not per_tensor:
        code, count = _activation_code(activation), _thread_count(threads)
        plain: Any = None
        if not isinstance(x, np.ndarray):
            plain = _linear_on_plain_tensors(x, weight, bias, code, factors, count)
        elif factors is None:
            plain = _core.linear_plain(x, weight, bias, code, count)
        if plain is not None:
            return plain  # type: ignore[no-any-return] # of the kind of x
    rows = matrix_of(x, "x", columns=weight.depth)
    shape = (*rows.shape[:-1], weight.columns)
    result = _out(x, out, shape)
    bias_address, _bias = vector_of(bias, "bias", weight.columns)
    factors_address, _factors = vector_of(factors, "factors", weight.depth)
    added = _residual(residual, shape)
    _core.linear(
        rows.address, rows.rows, rows.stride, weight, bias_address, factors_address,
        added.address, added.stride, result.address, result.stride,
        _activation_code(activation), per_tensor, _thread_count(threads),
    )  # fmt: skip
    array: _A = result.owner
    return array


def _linear_on_plain_tensors(
    x: Any, weight: PackedWeight, bias: Any | None, activation: int, factors: Any | None, threads: int
) -> Any | None:
    """:func:`linear` for the plainest tensors, or None when they are not plain: 3 microseconds instead of 8."""
    torch_module = sys.modules.get("torch")
    if torch_module is None or type(x) is not torch_module.Tensor:
        return None
    depth, columns = weight.depth, weight.columns
    shape = x.shape
    if not shape or shape[-1] != depth:
        return None
    address = plain_tensor_address(x, torch_module)
    bias_address = 0 if bias is None else plain_tensor_address(bias, torch_module, columns)
    factors_address = 0 if factors is None else plain_tensor_address(factors, torch_module, depth)
    if address is None or bias_address is None or factors_address is None:
        return None
    # Sizes one by one: torch takes half a microsecond longer to read a tuple.
    out = x.new_empty(shape[0], columns) if len(shape) == 2 else x.new_empty(*shape[:-1], columns)
    _core.linear(
        address, x.numel() // depth, depth, weight, bias_address, factors_address, 0, 0,
        out.data_ptr(), columns, activation, False, threads,
    )  # fmt: skip
    return out


_ABSENT = Matrix(0, 0, 0, 0, (), None)


def _residual(residual: Any | None, shape: tuple[int, ...]) -> Matrix:
    if residual is None:
        return _ABSENT
    matrix = matrix_of(residual, "residual")
    if matrix.shape != shape:
        raise ShapeError(f"residual has shape {list(matrix.shape)}, expected {list(shape)}")
    return matrix


def quantize_rows(
    x: Array, factors: Array | None = None, *, per_tensor: bool = False, threads: int | None = None
) -> QuantizedRows:
    """Quantizes float32 rows, shape [M, K], to u8 with one scale and zero point for each row.

    With low = min(0, min x) and high = max(0, max x) of a row (times ``factors``, shape [K]): scale =
    high / 255 - low / 255, zero point = round(-low / scale), q = clamp(round(x / scale + zero point), 0, 255).
    """
    rows = _two_dimensional(matrix_of(x, "x"), "x")
    factors_address, _factors = vector_of(factors, "factors", rows.columns)
    result = _empty_quantized(x, rows.rows, rows.columns)
    _core.quantize_rows(
        rows.address, rows.rows, rows.columns, rows.stride, factors_address, per_tensor,
        address_of(result.q), result.q.shape[1], address_of(result.scales), address_of(result.zero_points),
        _thread_count(threads),
    )  # fmt: skip
    return result


def _two_dimensional(matrix: Matrix, name: str) -> Matrix:
    if len(matrix.shape) != 2:
        raise ShapeError(f"{name} must have two dimensions, got shape {list(matrix.shape)}")
    return matrix


def _empty_quantized(like: Any, rows: int, depth: int) -> QuantizedRows:
    return QuantizedRows(
        empty_like_kind(like, (rows, -(-depth // 4) * 4), "uint8"),
        empty_like_kind(like, (rows,)),
        empty_like_kind(like, (rows,), "int32"),
        depth,
    )


def linear_quantized(
    rows: QuantizedRows,
    weight: PackedWeight,
    bias: Array | None = None,
    *,
    activation: Activation | None = None,
    residual: Array | None = None,
    threads: int | None = None,
) -> Any:
    """:func:`linear` on rows that are quantized already; returns float32, shape [M, N].

    Raises:
        ShapeError, DtypeError, DeviceError: rows of another K than the weight's, or an argument that does not fit.
    """
    if rows.depth != weight.depth:  # both may be padded to the same width
        raise ShapeError(f"rows have K = {rows.depth}, the weight has {weight.depth}")
    q = _quantized_matrix(rows.q, weight)
    scales_address, _scales = vector_of(rows.scales, "scales", q.rows)
    zeros_address, _zeros = vector_of(rows.zero_points, "zero_points", q.rows, "int32")
    result = empty_like_kind(rows.q, (q.rows, weight.columns))
    bias_address, _bias = vector_of(bias, "bias", weight.columns)
    added = _residual(residual, (q.rows, weight.columns))
    _core.linear_quantized(
        q.address, q.rows, q.stride, scales_address, zeros_address, weight, bias_address,
        added.address, added.stride, address_of(result), weight.columns,
        _activation_code(activation), _thread_count(threads),
    )  # fmt: skip
    return result


def _quantized_matrix(q: Any, weight: PackedWeight) -> Matrix:
    padded = -(-weight.depth // 4) * 4
    return _two_dimensional(matrix_of(q, "q", "uint8", columns=padded), "q")


def linear_to_quantized(
    x: Array,
    weight: PackedWeight,
    bias: Array | None = None,
    *,
    activation: Activation | None = None,
    factors: Array | None = None,
    next_factors: Array | None = None,
    threads: int | None = None,
) -> QuantizedRows:
    """:func:`linear` whose result, shape [M, N], is quantized at once for the next matmul.

    Args:
        x: float32, shape [M, K].
        weight: from :func:`pack`.
        bias: float32, shape [N].
        activation: fused, as in :func:`linear`.
        factors: float32, shape [K]: equalisation of this layer's input.
        next_factors: float32, shape [N]: equalisation of the next layer's input.
        threads: default :func:`num_threads`.
    """
    rows = _two_dimensional(matrix_of(x, "x", columns=weight.depth), "x")
    bias_address, _bias = vector_of(bias, "bias", weight.columns)
    factors_address, _factors = vector_of(factors, "factors", weight.depth)
    next_address, _next = vector_of(next_factors, "next_factors", weight.columns)
    result = _empty_quantized(x, rows.rows, weight.columns)
    _core.linear_to_quantized(
        rows.address, rows.rows, rows.stride, weight, bias_address, factors_address,
        _activation_code(activation), next_address, address_of(result.q), result.q.shape[1],
        address_of(result.scales), address_of(result.zero_points), _thread_count(threads),
    )  # fmt: skip
    return result


def matmul_s32(q: Array, weight: PackedWeight, *, threads: int | None = None) -> Any:
    """The exact accumulators, int32, shape [M, N]: sums of q * w over K.

    Args:
        q: u8, shape [M, K rounded up to a multiple of 4], as :func:`quantize_rows` gives it.
        weight: from :func:`pack`.
        threads: default :func:`num_threads`.
    """
    matrix = _quantized_matrix(q, weight)
    result = empty_like_kind(q, (matrix.rows, weight.columns), "int32")
    _core.matmul_s32(
        matrix.address,
        matrix.rows,
        matrix.stride,
        weight,
        address_of(result),
        weight.columns,
        _thread_count(threads),
    )
    return result


def layer_norm(
    x: _A,
    gamma: Array,
    beta: Array,
    epsilon: float = 1e-12,
    *,
    residual: Array | None = None,
    threads: int | None = None,
) -> _A:
    """LayerNorm over the last dimension of ``x + residual``; float32, shapes [..., K] and [K]."""
    result, _ = _layer_norm(x, gamma, beta, epsilon, residual, None, False, threads)
    array: _A = result
    return array


def layer_norm_quantized(
    x: Array,
    gamma: Array,
    beta: Array,
    epsilon: float = 1e-12,
    *,
    residual: Array | None = None,
    factors: Array | None = None,
    threads: int | None = None,
) -> tuple[Any, QuantizedRows]:
    """Residual + LayerNorm + equalise + quantize in one pass over x, shape [M, K].

    Returns:
        (float32 result of shape [M, K], the same times ``factors`` of shape [K] as quantized rows).
    """
    result, quantized = _layer_norm(x, gamma, beta, epsilon, residual, factors, True, threads)
    return result, quantized


def _layer_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    epsilon: float,
    residual: Any | None,
    factors: Any | None,
    quantize: bool,
    threads: int | None,
) -> tuple[Any, QuantizedRows]:
    rows = matrix_of(x, "x")
    result = _out(x, None, rows.shape)
    gamma_address, _gamma = vector_of(gamma, "gamma", rows.columns)
    beta_address, _beta = vector_of(beta, "beta", rows.columns)
    factors_address, _factors = vector_of(factors, "factors", rows.columns)
    added = _residual(residual, rows.shape)
    quantized = _empty_quantized(x, rows.rows if quantize else 0, rows.columns)
    _core.layer_norm(
        rows.address, rows.rows, rows.columns, rows.stride, added.address, added.stride, gamma_address, beta_address,
        epsilon, result.address, result.stride, factors_address,
        address_of(quantized.q) if quantize else 0, quantized.q.shape[1],
        address_of(quantized.scales), address_of(quantized.zero_points), _thread_count(threads),
    )  # fmt: skip
    return result.owner, quantized


def softmax(x: _A, *, threads: int | None = None) -> _A:
    """Softmax over the last dimension; float32, shape [..., K]. A row with NaN, +inf or only -inf gives NaN."""
    rows = matrix_of(x, "x")
    result = _out(x, None, rows.shape)
    _core.softmax(
        rows.address,
        rows.rows,
        rows.columns,
        rows.stride,
        result.address,
        result.stride,
        _thread_count(threads),
    )
    array: _A = result.owner
    return array


def attention(
    qkv: _A,
    heads: int,
    *,
    offsets: Any | None = None,
    window: int | None = None,
    relative_bias: Any | None = None,
    products: Literal["auto", "float32", "int8"] = "auto",
    threads: int | None = None,
) -> _A:
    """Multi-head self-attention, ``softmax(q k^T / sqrt(head size) + bias) v``, without ever holding all scores.

    Args:
        qkv: float32 [tokens, 3 * heads * head size]: all of q, then k, then v, heads in order; or the same as
            [sequences, length, 3 * heads * head size] when all sequences have one length.
        heads: number of them.
        offsets: int64 [sequences + 1], where the sequences of a two-dimensional ``qkv`` begin, and its end; ``None``:
            the tokens are one sequence.
        window: a query sees keys at most so many tokens away; ``None`` for all.
        relative_bias: float32 [heads, 2 * max_tokens - 1]; the entry j - i + max_tokens - 1 is added to the score of
            query i and key j.
        products: ``"int8"`` (queries and keys with a scale for each token, probabilities u8, values with a scale for
            each channel; exact int32 sums), ``"float32"``, or ``"auto"``: INT8 for sequences of 16 tokens and more.
        threads: as for :func:`linear`.

    Returns:
        float32 [..., heads * head size], of ``qkv``'s kind. A sequence's result depends on that sequence alone.

    Raises:
        ShapeError: shapes that do not fit, an empty sequence, one longer than ``relative_bias`` is for.
        DtypeError, DeviceError: an array of another dtype or device.
        ConfigError: ``heads``, ``window`` or ``products`` is refused.

    Example:
        >>> attention(np.zeros((7, 3 * 64), np.float32), heads=2).shape
        (7, 64)
    """
    if products not in _PRODUCTS:
        raise ConfigError(f"products is {products!r}; allowed: {', '.join(map(repr, _PRODUCTS))}")
    if heads < 1 or (window is not None and window < 0):
        raise ConfigError(
            f"heads is {heads} and window {window}: expected at least 1 head, and no negative window"
        )
    rows = matrix_of(qkv, "qkv")
    if len(rows.shape) not in (2, 3) or rows.columns % (3 * heads):
        raise ShapeError(
            f"qkv has shape {list(rows.shape)}, expected [tokens, 3 * heads * head size] or [sequences, length, ...] "
            f"with {heads} heads"
        )
    width = rows.columns // 3
    ends = _offsets_of(rows.shape, offsets)
    bias = (
        None
        if relative_bias is None
        else _two_dimensional(matrix_of(relative_bias, "relative_bias"), "relative_bias")
    )
    if bias is not None and (bias.rows != heads or bias.columns % 2 == 0 or bias.stride != bias.columns):
        raise ShapeError(
            f"relative_bias has shape {list(bias.shape)}, expected contiguous [{heads}, 2 * max_tokens - 1]"
        )
    result = _out(qkv, None, (*rows.shape[:-1], width))
    _core.attention(
        rows.address, rows.stride, ends.ctypes.data, len(ends) - 1, heads, width // heads,
        -1 if window is None else window, 0 if bias is None else bias.address,
        0 if bias is None else (bias.columns + 1) // 2, _PRODUCTS[products], result.address, result.stride,
        _thread_count(threads),
    )  # fmt: skip
    array: _A = result.owner
    return array


def _offsets_of(shape: tuple[int, ...], offsets: Any | None) -> np.ndarray[Any, Any]:
    """Where sequences begin, int64 [sequences + 1]."""
    tokens = math.prod(shape[:-1])
    if len(shape) == 3:
        if offsets is not None:
            raise ShapeError("offsets are for tokens that lie back to back, [tokens, 3 * heads * head size]")
        return np.arange(0, tokens + 1, max(1, shape[1]), dtype=np.int64)
    if offsets is None:
        return np.array([0, tokens] if tokens else [0], np.int64)
    ends = np.ascontiguousarray(_to_numpy(offsets))
    if ends.dtype != np.int64 or ends.ndim != 1 or not len(ends) or ends[-1] != tokens:
        raise ShapeError(
            f"offsets must be int64 [sequences + 1], ending with the number of tokens, {tokens}; got {ends.dtype} "
            f"{list(ends.shape)}"
        )
    return ends


def gelu(x: _A, *, approximate: Literal["none", "tanh"] = "none", threads: int | None = None) -> _A:
    """GELU of every element, float32, any shape; exact (erf) or the tanh approximation.

    The error against the exact function is below 3e-8 plus one unit in the last place of the result.
    """
    if approximate not in ("none", "tanh"):
        raise ConfigError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    rows = matrix_of(x, "x")
    if rows.rows > 1 and rows.stride != rows.columns:
        contiguous = rows.owner.contiguous() if is_torch(rows.owner) else np.ascontiguousarray(rows.owner)
        rows = matrix_of(contiguous, "x")
    result = _out(x, None, rows.shape)
    _core.gelu(
        rows.address, rows.rows * rows.columns, result.address, approximate == "tanh", _thread_count(threads)
    )
    array: _A = result.owner
    return array


def time_linear(
    x: Array,
    weight: PackedWeight,
    bias: Array | None = None,
    *,
    activation: Activation | None = None,
    threads: int = 1,
    repetitions: int = 100,
) -> float:
    """Seconds one :func:`linear` call takes in a loop inside the core: the kernel's speed without Python's share.

    ``x`` is float32, shape [M, K]; activation quantization, bias and activation are included.
    """
    rows = _two_dimensional(matrix_of(x, "x", columns=weight.depth), "x")
    bias_address, _bias = vector_of(bias, "bias", weight.columns)
    out = aligned_empty((rows.rows, weight.columns))
    return _core.time_linear(
        rows.address, rows.rows, rows.stride, weight, bias_address, address_of(out), weight.columns,
        _activation_code(activation), threads, repetitions,
    )  # fmt: skip
