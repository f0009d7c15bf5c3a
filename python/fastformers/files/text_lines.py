# SPDX-License-Identifier: MIT
"""Lines of a text file with their numbers, blank ones left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastformers.errors import FormatError

__all__ = ["numbered_lines"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines that are not blank, each with its number in the file, from 1.

    Lines end at line feeds alone: a text, and a JSON string, may hold the other characters that Python ends lines at.

    Raises:
        FormatError: the file cannot be read, or is not UTF-8 text; names the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(raw.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), start=1):
        try:
            text = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise FormatError(
                f"{path}, line {number}: is not UTF-8 text: {error}; save the file as UTF-8"
            ) from error
        if text.strip():
            yield number, text
