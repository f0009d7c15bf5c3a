# SPDX-License-Identifier: MIT
"""NumPy arrays and CPU torch tensors as addresses, without copies and without importing torch.

The kernels take plain addresses. This module checks what an address cannot say (kind, dtype, device, layout) and
makes results of the caller's own kind. Torch is looked up in ``sys.modules``: whoever passes a tensor has it.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastformers.errors import DeviceError, DtypeError, ShapeError

if TYPE_CHECKING:
    import torch

    Array: TypeAlias = np.ndarray[Any, Any] | torch.Tensor

__all__ = ["Matrix", "address_of", "empty_like_kind", "is_torch", "matrix_of", "out_matrix", "vector_of"]



def is_torch(array: object) -> bool:
    """Whether this is a torch tensor (False when torch was never imported)."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(array, torch_module.Tensor)


def _dtype_name(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def _check_kind(array: Any, name: str, dtype: str) -> None:
    """Raises unless ``array`` is a NumPy array or a strided CPU tensor of this dtype."""
    torch_tensor = is_torch(array)
    if not torch_tensor and not isinstance(array, np.ndarray):
        raise DtypeError(f"{name} must be a numpy array or a CPU torch tensor, got {type(array).__name__}")
    if torch_tensor and (array.device.type != "cpu" or str(array.layout) != "torch.strided"):
        raise DeviceError(f"{name} is on {array.device} ({array.layout}); move it with {name}.cpu().to_dense()")
    if _dtype_name(array) != dtype:
        remedy = f"{name}.to(torch.{dtype})" if torch_tensor else f"{name}.astype('{dtype}')"
        raise DtypeError(f"{name} must be {dtype}, got {_dtype_name(array)}; convert it with {remedy}")


def address_of(array: Any) -> int:
    """The address of the first element."""
    if is_torch(array):
        return int(array.data_ptr())
    return int(array.__array_interface__["data"][0])


def _strides(array: Any) -> tuple[int, ...]:
    """Strides in elements."""
    if is_torch(array):
        return tuple(array.stride())
    return tuple(step // array.itemsize for step in array.strides)


@dataclass(frozen=True)
class Matrix:
    """An array seen as rows: leading dimensions merged, last dimension contiguous."""

    address: int
    rows: int
    columns: int
    stride: int
    shape: tuple[int, ...]
    owner: Any


def _merged_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """The one row stride that all leading dimensions share, or None when they cannot be merged."""
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
    return stride if stride is not None else shape[-1]


def matrix_of(array: Any, name: str, dtype: str = "float32", *, columns: int | None = None) -> Matrix:
    """An input as rows. Rows may be apart (any stride >= the row length); anything else is copied once.

    Raises:
        DtypeError: not an array, or of another dtype.
        DeviceError: a tensor that is not a dense CPU tensor.
        ShapeError: no dimension at all, or a last dimension other than ``columns``.
    """
    _check_kind(array, name, dtype)
    shape = tuple(array.shape)
    if not shape:
        raise ShapeError(f"{name} must have at least one dimension, got a scalar")
    if columns is not None and shape[-1] != columns:
        raise ShapeError(f"{name} has shape {list(shape)}, expected its last dimension to be {columns}")
    strides = _strides(array)
    stride = _merged_stride(shape, strides)
    if stride is None or stride < shape[-1] or (strides[-1] != 1 and shape[-1] > 1) or not _is_aligned(array):
        array = array.contiguous() if is_torch(array) else np.ascontiguousarray(array)
        stride = shape[-1]
    return Matrix(address_of(array), math.prod(shape[:-1]), shape[-1], stride, shape, array)


def _is_aligned(array: Any) -> bool:
    return True if is_torch(array) else bool(array.flags.aligned)


def out_matrix(array: Any, name: str, shape: tuple[int, ...], dtype: str = "float32") -> Matrix:
    """A result array given by the caller: as :func:`matrix_of`, but never copied.

    Raises:
        ShapeError: another shape, or a layout whose rows are not contiguous, evenly spaced and writable.
    """
    _check_kind(array, name, dtype)
    if tuple(array.shape) != shape:
        raise ShapeError(f"{name} has shape {list(array.shape)}, expected {list(shape)}")
    strides = _strides(array)
    stride = _merged_stride(shape, strides)
    writable = is_torch(array) or (array.flags.writeable and array.flags.aligned)
    if stride is None or stride < shape[-1] or (strides[-1] != 1 and shape[-1] > 1) or not writable:
        raise ShapeError(f"{name} must be writable, with contiguous rows that do not overlap; got strides {strides}")
    return Matrix(address_of(array), math.prod(shape[:-1]), shape[-1], stride, shape, array)


def vector_of(array: Any | None, name: str, length: int, dtype: str = "float32") -> tuple[int, Any]:
    """(address, owner) of an optional contiguous vector of ``length``; (0, None) when absent."""
    if array is None:
        return 0, None
    _check_kind(array, name, dtype)
    if tuple(array.shape) != (length,):
        raise ShapeError(f"{name} has shape {list(array.shape)}, expected [{length}]")
    if length > 1 and _strides(array)[0] != 1:
        array = array.contiguous() if is_torch(array) else np.ascontiguousarray(array)
    return address_of(array), array


def empty_like_kind(array: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """An uninitialised array of ``shape``: a tensor when ``array`` is one, else a NumPy array."""
    if is_torch(array):
        torch_module = sys.modules["torch"]
        return torch_module.empty(shape, dtype=getattr(torch_module, dtype))
    return np.empty(shape, dtype=dtype)
