# SPDX-License-Identifier: MIT
"""Draws whatever a saved file holds: which picture belongs to which schema and kind is one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastformers.benchmarking.ladder.report import SCHEMA as LADDER
from fastformers.benchmarking.plots.ladder import draw_ladder
from fastformers.benchmarking.plots.tradeoff import GRID_SCHEMA as GRID
from fastformers.benchmarking.plots.tradeoff import SEARCH_SCHEMA as SEARCH
from fastformers.benchmarking.plots.tradeoff import draw_search, draw_tradeoff
from fastformers.errors import ConfigError, FormatError

__all__ = ["KINDS", "draw"]

KINDS = ("ladder", "tradeoff")

_PICTURES: dict[tuple[str, str | None], Callable[[Mapping[str, Any], Path], None]] = {
    (LADDER, None): lambda content, path: draw_ladder(content, path),
    (LADDER, "ladder"): lambda content, path: draw_ladder(content, path, "bars"),
    (LADDER, "tradeoff"): lambda content, path: draw_ladder(content, path, "points"),
    (GRID, None): draw_tradeoff,
    (GRID, "tradeoff"): draw_tradeoff,
    (SEARCH, None): draw_search,
    (SEARCH, "tradeoff"): draw_search,
}


def draw(content: Mapping[str, Any], path: Path, kind: str | None = None) -> None:
    """Draws a saved file.

    Args:
        content: JSON of a ladder, of a search or of a grid.
        path: .png or .svg file to write.
        kind: ``"ladder"`` for bars of the speed-up, ``"tradeoff"`` for score against speed or time; ``None`` draws
            what the file holds.

    Raises:
        ConfigError: an unknown kind, one that the file does not hold, or a path that cannot be a picture.
        FormatError: a schema that is not drawn, or a damaged file.
        MissingExtraError: matplotlib is not installed.
    """
    schema = content.get("schema")
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if not isinstance(schema, str) or (schema, None) not in _PICTURES:
        raise FormatError(f"schema is {schema!r}; pictures are drawn of: {LADDER}, {SEARCH}, {GRID}")
    if (schema, kind) not in _PICTURES:
        raise ConfigError(f"a file of schema {schema} has no picture of kind {kind!r}")
    _PICTURES[schema, kind](content, path)
