# SPDX-License-Identifier: MIT
"""Reads a list of layers, for verbs that keep some."""

from __future__ import annotations

import typer

__all__ = ["layer_numbers"]


def layer_numbers(text: str) -> tuple[int, ...]:
    """Reads ``0,2,4``.

    Raises:
        typer.BadParameter: it is no list of whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no list of layers such as 0,2,4", param_hint="--layers"
        ) from error
