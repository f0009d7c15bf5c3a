# SPDX-License-Identifier: MIT
"""Fields of a JSON object by name and type, with errors that say which file, which field and what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from fastformers.errors import FormatError
from fastformers.files.plain_file import is_bare_name

__all__ = [
    "ENCODER_FORMAT",
    "MANIFEST",
    "TORCH_FORMAT",
    "digest_field",
    "field_of",
    "file_name",
    "short",
    "size_field",
]

#: The file that says what an artefact consists of.
MANIFEST = "fastformers.json"
#: What it says of a torch model, pruned or quantized, and of a compiled encoder.
TORCH_FORMAT, ENCODER_FORMAT = "fastformers", "fastformers-encoder"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1 << 46
_T = TypeVar("_T")


def short(value: object) -> str:
    """Returns a value's text for a message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_of(content: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    """Returns a field of the manifest that must be there and of a type; True and False are no numbers.

    Raises:
        FormatError: absent or of another type.
    """
    value = content.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise FormatError(f"{MANIFEST}: {key} is {short(value)}, must be of type {kind.__name__}")
    return value


def file_name(value: object) -> str:
    """Returns a bare file name of the manifest.

    Raises:
        FormatError: it has a folder, begins with a dot, or is no text.
    """
    if not isinstance(value, str) or not is_bare_name(value):
        raise FormatError(f"{MANIFEST}: {short(value)} is not a bare file name")
    return value


def size_field(content: Mapping[str, Any], key: str = "bytes") -> int:
    """Returns a number of bytes.

    Raises:
        FormatError: absent, no whole number, or out of range.
    """
    size = field_of(content, key, int)
    if not 0 <= size <= _MOST_BYTES:
        raise FormatError(f"{MANIFEST}: {key} is {size}, must be from 0 to {_MOST_BYTES}")
    return size


def digest_field(content: Mapping[str, Any], key: str, name: str) -> str:
    """Returns a digest of 64 hexadecimal digits, of the file ``name``.

    Raises:
        FormatError: absent or something else.
    """
    digest = field_of(content, key, str)
    if not _DIGEST.fullmatch(digest):
        raise FormatError(f"{MANIFEST}: {key} of {name} is {short(digest)}")
    return digest
