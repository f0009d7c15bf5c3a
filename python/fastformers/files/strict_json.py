# SPDX-License-Identifier: MIT
"""JSON from files that nobody vouches for: bounded in size and depth, no key twice, no number without a value.

What Python's parser lets through and JSON does not allow (NaN, infinity, 1e999, a second value for a key, other
encodings) is refused here, so that a reader sees plain objects, lists, strings, finite numbers, booleans and null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError, FormatError
from fastformers.files.plain_file import read_plain_file

__all__ = ["MOST_JSON_BYTES", "json_bytes", "parse_json", "read_json", "write_json"]

MOST_JSON_BYTES = 4 << 20
_MOST_DEPTH = 16
_MOST_DIGITS = 40
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(raw: bytes, name: str, most_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Parses one JSON object.

    Args:
        raw: UTF-8 text.
        name: of the file, for messages.
        most_bytes: the largest size accepted.

    Raises:
        FormatError: too large, nested deeper than 16, not UTF-8, not JSON, a key twice, NaN or infinity, half of a
            surrogate pair in a text, no object.

    Example:
        >>> parse_json(b'{"a": [1, 2.5]}', "a.json")
        {'a': [1, 2.5]}
    """
    if len(raw) > most_bytes:
        raise FormatError(f"{name} is larger than {most_bytes} bytes")
    try:
        content = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        if _SURROGATE.search(raw):  # halves of a character: no text can hold one alone
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{name} holds a {type(content).__name__}, must hold an object")
    if not _is_shallow(content, _MOST_DEPTH):
        raise FormatError(f"{name} is nested deeper than {_MOST_DEPTH} levels")
    return content


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Reads one JSON object from a plain file; see :func:`parse_json`.

    Raises:
        FormatError: missing, not a plain file, or refused by :func:`parse_json`.
    """
    return parse_json(read_plain_file(path, most_bytes), path.name, most_bytes)


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Returns the text that :func:`parse_json` reads back, indented for people.

    Raises:
        ConfigError: a number is NaN or infinite, or a value is none of JSON's.
    """
    try:
        return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"what is to be saved does not fit into JSON: {error}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes one JSON object."""
    path.write_bytes(json_bytes(content))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"the number {text[:_MOST_DIGITS]} is out of range")
    return value


def _bounded(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits")
    return int(text)


def _is_shallow(value: Any, levels: int) -> bool:
    """Whether ``value`` has at most ``levels`` levels of objects and lists; looks no deeper than that."""
    if not isinstance(value, dict | list):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in parts)
