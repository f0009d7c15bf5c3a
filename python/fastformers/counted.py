# SPDX-License-Identifier: MIT
"""A number with its noun, as reports and messages print it."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """Writes a number with its noun.

    Example:
        >>> counted(1, "core"), counted(1024, "text")
        ('1 core', '1,024 texts')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
