# SPDX-License-Identifier: MIT
"""safetensors files as NumPy views of mapped memory, their header held against rules before a value is looked at.

The format is 8 bytes (size of the header), a JSON header (name -> dtype, shape, first and last byte) and the values.
The header is read strictly: the byte ranges must cover the values once, without hole or overlap, and each must be as
long as its dtype and shape say. Files are written by the safetensors package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fastformers.errors import FastformersError, FormatError
from fastformers.files.fields import short
from fastformers.files.strict_json import MOST_JSON_BYTES, parse_json
from fastformers.runtime.expected_tensors import TensorRule, check_layout, check_values

__all__ = ["Tensors", "read_tensors", "write_tensors"]

Tensors: TypeAlias = Mapping[str, np.ndarray[Any, Any]]

_DTYPES = {"F32": "float32", "I8": "int8", "I32": "int32", "I64": "int64"}
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_MOST_DIMENSIONS = 4
_MOST_ELEMENTS = 1 << 46


@dataclass(frozen=True)
class _Stored:
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensors(content: memoryview, name: str, rules: Mapping[str, TensorRule]) -> Tensors:
    """Checks a mapped file and returns its tensors as read-only views of it.

    Args:
        content: all bytes of the file.
        name: of the file, for messages.
        rules: what it must hold.

    Raises:
        FormatError: damaged, or not what the rules say; names the tensor and the reason.
    """
    stored, first = _header(content, name)
    try:
        check_layout(rules, {key: (entry.dtype, entry.shape) for key, entry in stored.items()})
        tensors = {key: _view(content, key, entry, first) for key, entry in stored.items()}
        for key, array in tensors.items():
            check_values(key, rules[key], array)
    except FastformersError as error:
        raise FormatError(f"{name} is refused: {error}") from error
    return tensors


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Writes arrays (little-endian, made contiguous where they are not) as a safetensors file."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)


def _header(content: memoryview, name: str) -> tuple[dict[str, _Stored], int]:
    """Returns the entries and the place of the first value."""
    size = int.from_bytes(content[:_LENGTH_BYTES], "little")
    first = _LENGTH_BYTES + size
    if len(content) < _LENGTH_BYTES or first > len(content):
        raise FormatError(f"{name} is damaged: it is shorter than its header")
    if size > MOST_JSON_BYTES:
        raise FormatError(f"the header of {name} is larger than {MOST_JSON_BYTES} bytes")
    header = parse_json(bytes(content[_LENGTH_BYTES:first]), f"the header of {name}")
    header.pop(_METADATA, None)
    stored = {key: _entry(name, key, entry) for key, entry in header.items()}
    place = 0
    for key, entry in sorted(stored.items(), key=lambda item: item[1].start):
        if entry.start != place:
            raise FormatError(
                f"{name} is damaged: tensor {short(key)} begins at {entry.start}, not at {place}"
            )
        place = entry.end
    if first + place != len(content):
        raise FormatError(
            f"{name} is damaged: its tensors end at {first + place}, the file at {len(content)}"
        )
    return stored, first


def _entry(name: str, key: str, entry: Any) -> _Stored:
    def damaged(what: str) -> FormatError:
        return FormatError(f"{name} is damaged: {what} of tensor {short(key)} in its header")

    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged(f"odd fields {short(entry)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise damaged(f"unknown dtype {short(dtype)}")
    if not _are_counts(shape) or len(shape) > _MOST_DIMENSIONS or prod(shape) > _MOST_ELEMENTS:
        raise damaged(f"impossible shape {short(shape)}")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise damaged(f"impossible place {short(offsets)}")
    stored = _Stored(_DTYPES[dtype], tuple(shape), offsets[0], offsets[1])
    if stored.end - stored.start != prod(shape) * np.dtype(stored.dtype).itemsize:
        raise damaged(f"place {short(offsets)} does not fit {stored.dtype} and shape {short(shape)}")
    return stored


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_ELEMENTS
        for value in values
    )


def _view(content: memoryview, key: str, entry: _Stored, first: int) -> np.ndarray[Any, Any]:
    dtype = np.dtype(entry.dtype).newbyteorder("<")
    start = first + entry.start
    if start % dtype.itemsize != 0:
        raise FormatError(f"tensor {key} starts at byte {start}, no multiple of {dtype.itemsize}")
    count = prod(entry.shape)
    return np.frombuffer(content, dtype, count, start).reshape(entry.shape)
