# SPDX-License-Identifier: MIT
"""Lines of a text file, blank ones left out."""

from __future__ import annotations

from pathlib import Path

from fastformers.errors import FormatError

__all__ = ["text_lines"]


def text_lines(path: Path) -> list[str]:
    """Reads the lines that are not blank.

    Raises:
        FormatError: not UTF-8 text.
    """
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 text: {error}") from error
