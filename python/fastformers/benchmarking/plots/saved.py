# SPDX-License-Identifier: MIT
"""Rows and numbers of a saved file that is to be drawn; what is missing or not a number is named."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from fastformers.errors import FormatError

__all__ = ["finite", "positive", "rows_of"]


def rows_of(content: Mapping[str, Any], schema: str, field: str, what: str) -> list[Any]:
    """Returns the rows of a saved file, at least one.

    Args:
        content: of the file.
        schema: that it must have.
        field: that holds the rows.
        what: the file is, for messages.

    Raises:
        FormatError: another schema, or no rows.
    """
    if content.get("schema") != schema:
        raise FormatError(f"schema is {content.get('schema')!r}, must be {schema!r}")
    rows = content.get(field)
    if not isinstance(rows, list) or not rows:
        raise FormatError(f"the {what} has no {field}")
    return rows


def finite(value: Any, what: str) -> float:
    """Returns a finite number.

    Raises:
        FormatError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise FormatError(f"{what} is {value!r}, must be a finite number")
    return float(value)


def positive(value: Any, what: str) -> float:
    """Returns a finite number above 0.

    Raises:
        FormatError: it is none.
    """
    found = finite(value, what)
    if found <= 0:
        raise FormatError(f"{what} is {found!r}, must be above 0")
    return found
