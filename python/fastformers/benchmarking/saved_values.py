# SPDX-License-Identifier: MIT
"""Rows and numbers of a file that this package wrote and somebody may have changed; what is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeGuard

from fastformers.errors import FormatError

__all__ = ["finite", "from_zero", "positive", "rows_of"]


def rows_of(content: Mapping[str, Any], field: str, what: str, *, schema: str | None = None) -> list[Any]:
    """Returns the rows of a saved file, at least one.

    Args:
        content: of the file.
        field: that holds the rows.
        what: the file is, for messages.
        schema: that it must have; ``None`` where the caller has looked.

    Raises:
        FormatError: another schema, or no rows.
    """
    if schema is not None and content.get("schema") != schema:
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
    if not _is_finite(value):
        raise FormatError(f"{what} is {value!r}, must be a finite number")
    return float(value)


def positive(value: Any, what: str) -> float:
    """Returns a finite number above 0.

    Raises:
        FormatError: it is none.
    """
    if not _is_finite(value) or value <= 0:
        raise FormatError(f"{what} is {value!r}, must be a number above 0")
    return float(value)


def from_zero(value: Any, what: str) -> float:
    """Returns a finite number that is 0 or more.

    Raises:
        FormatError: it is none.
    """
    if not _is_finite(value) or value < 0:
        raise FormatError(f"{what} is {value!r}, must be a number from 0")
    return float(value)


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
