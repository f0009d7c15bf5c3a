# SPDX-License-Identifier: MIT
"""NumPy arrays and CPU torch tensors as addresses, without copies and without importing torch.

The kernels take plain addresses. This module checks what an address cannot say (kind, dtype, device, layout) and
makes results of the caller's own kind. Torch is looked up in ``sys.modules``: whoever passes a tensor has it.
The common case (contiguous, right dtype) is tested first and cheaply: small layers take only a microsecond or two.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fastformers import _core
from fastformers.errors import DeviceError, DtypeError, ShapeError

if TYPE_CHECKING:
    import torch

    Array: TypeAlias = np.ndarray[Any, Any] | torch.Tensor

__all__ = [
    "Matrix",
    "address_of",
    "aligned_empty",
    "empty_like_kind",
    "is_torch",
    "matrix_of",
    "out_matrix",
    "plain_tensor_address",
    "vector_of",
]

_NUMPY_DTYPES = {name: np.dtype(name) for name in ("float32", "int32", "uint8", "int8")}


class Matrix(NamedTuple):
    """An array seen as rows: leading dimensions merged, last dimension contiguous."""

    address: int
    rows: int
    columns: int
    stride: int
    shape: tuple[int, ...]
    owner: Any


def is_torch(array: object) -> bool:
    """Whether this is a torch tensor (False when torch was never imported)."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(array, torch_module.Tensor)


def _is_plain(array: Any, torch_tensor: bool, dtype: str) -> bool:
    """Whether the array can be used as it is: this dtype, on the CPU, contiguous, aligned."""
    if torch_tensor:
        torch_module = sys.modules["torch"]
        plain: bool = (
            array.dtype is getattr(torch_module, dtype)
            and array.is_cpu
            and array.layout is torch_module.strided
            and array.is_contiguous()
            and not array.is_neg()
        )
        return plain
    return isinstance(array, np.ndarray) and array.dtype == _NUMPY_DTYPES[dtype] and array.flags.carray


def _check_kind(array: Any, name: str, dtype: str) -> None:
    """Raises unless ``array`` is a NumPy array or a strided CPU tensor of this dtype."""
    torch_tensor = is_torch(array)
    if not torch_tensor and not isinstance(array, np.ndarray):
        raise DtypeError(f"{name} must be a numpy array or a CPU torch tensor, got {type(array).__name__}")
    if torch_tensor and array.is_neg():
        raise DtypeError(f"{name} is a lazily negated view; pass {name}.resolve_neg()")
    if torch_tensor and (array.device.type != "cpu" or str(array.layout) != "torch.strided"):
        raise DeviceError(
            f"{name} is on {array.device} ({array.layout}); pass a dense CPU tensor: {name}.cpu()"
        )
    found = str(array.dtype).removeprefix("torch.")
    if found != dtype:
        remedy = f"{name}.to(torch.{dtype})" if torch_tensor else f"{name}.astype('{dtype}')"
        raise DtypeError(f"{name} must be {dtype}, got {found}; convert it with {remedy}")


def address_of(array: Any) -> int:
    """The address of the first element."""
    if isinstance(array, np.ndarray):
        return _core.array_address(array)
    return int(array.data_ptr())


def plain_tensor_address(array: Any, torch_module: Any, length: int | None = None) -> int | None:
    """The address of a float32 CPU tensor that can be used as it is; None for everything else.

    Args:
        array: anything.
        torch_module: torch, imported.
        length: also None unless the tensor's shape is [length].
    """
    if (
        isinstance(array, torch_module.Tensor)
        and array.dtype is torch_module.float32
        and array.is_cpu
        and array.layout is torch_module.strided
        and array.is_contiguous()
        and not array.is_neg()
        and (length is None or array.shape == (length,))
    ):
        address: int = array.data_ptr()
        return address
    return None


def _strides(array: Any) -> tuple[int, ...]:
    """Strides in elements."""
    if is_torch(array):
        return tuple(array.stride())
    return tuple(step // array.itemsize for step in array.strides)


def _row_stride(array: Any) -> int | None:
    """The one stride between rows, when the leading dimensions merge and rows are contiguous and apart; else None."""
    shape, strides = tuple(array.shape), _strides(array)
    stride = None
    expected = None
    for size, step in zip(reversed(shape[:-1]), reversed(strides[:-1]), strict=True):
        if size == 1:
            continue
        if stride is None:
            stride = step
        elif step != expected:
            return None
        expected = step * size
    if stride is None:
        stride = shape[-1]
    contiguous_rows = strides[-1] == 1 or shape[-1] <= 1
    return stride if stride >= shape[-1] and contiguous_rows else None


def matrix_of(array: Any, name: str, dtype: str = "float32", *, columns: int | None = None) -> Matrix:
    """An input as rows. Rows may be apart (any stride >= the row length); anything else is copied once.

    Raises:
        DtypeError: not an array, or of another dtype.
        DeviceError: a tensor that is not a dense CPU tensor.
        ShapeError: no dimension at all, or a last dimension other than ``columns``.
    """
    torch_tensor = is_torch(array)
    plain = _is_plain(array, torch_tensor, dtype)
    if not plain:
        _check_kind(array, name, dtype)
    shape = tuple(array.shape)
    if not shape:
        raise ShapeError(f"{name} must have at least one dimension, got a scalar")
    if columns is not None and shape[-1] != columns:
        raise ShapeError(f"{name} has shape {list(shape)}, expected its last dimension to be {columns}")
    stride = shape[-1] if plain else _row_stride(array)
    if stride is None or not (torch_tensor or array.flags.aligned):
        array = array.contiguous() if torch_tensor else np.ascontiguousarray(array)
        stride = shape[-1]
    return Matrix(address_of(array), math.prod(shape[:-1]), shape[-1], stride, shape, array)


def out_matrix(array: Any, name: str, shape: tuple[int, ...], dtype: str = "float32") -> Matrix:
    """A result array given by the caller: as :func:`matrix_of`, but never copied.

    Raises:
        ShapeError: another shape, or a layout whose rows are not contiguous, evenly spaced and writable.
    """
    _check_kind(array, name, dtype)
    if tuple(array.shape) != shape:
        raise ShapeError(f"{name} has shape {list(array.shape)}, expected {list(shape)}")
    stride = shape[-1] if 0 in shape else _row_stride(array)  # NumPy gives empty arrays any strides
    writable = is_torch(array) or (array.flags.writeable and array.flags.aligned)
    if stride is None or not writable:
        raise ShapeError(
            f"{name} must be writable, with contiguous rows that do not overlap; got strides {_strides(array)}"
        )
    return Matrix(address_of(array), math.prod(shape[:-1]), shape[-1], stride, shape, array)


def vector_of(array: Any | None, name: str, length: int, dtype: str = "float32") -> tuple[int, Any]:
    """(address, owner) of an optional contiguous vector of ``length``; (0, None) when absent."""
    if array is None:
        return 0, None
    torch_tensor = is_torch(array)
    plain = _is_plain(array, torch_tensor, dtype)
    if not plain:
        _check_kind(array, name, dtype)
    if tuple(array.shape) != (length,):
        raise ShapeError(f"{name} has shape {list(array.shape)}, expected [{length}]")
    if not plain:
        array = array.contiguous() if torch_tensor else np.ascontiguousarray(array)
    return address_of(array), array


def aligned_empty(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray[Any, Any]:
    """An uninitialised NumPy array that starts on a cache line (64 bytes), as torch's do and NumPy's do not.

    Stores that straddle two lines cost the matmul's epilogue up to 3 %.
    """
    nbytes = math.prod(shape) * _NUMPY_DTYPES[dtype].itemsize
    raw = np.empty(nbytes + 63, dtype=np.uint8)
    start = -address_of(raw) % 64
    return raw[start : start + nbytes].view(dtype).reshape(shape)


def empty_like_kind(array: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """An uninitialised array of ``shape``: a tensor when ``array`` is one, else a NumPy array."""
    if is_torch(array):
        torch_module = sys.modules["torch"]
        # Not on torch's default device: the kernels write to an address.
        return torch_module.empty(shape, dtype=getattr(torch_module, dtype), device="cpu")
    return aligned_empty(shape, dtype)
