# SPDX-License-Identifier: MIT
"""Draws time against accuracy over a grid of heads and FFN sizes, a line for each head count (the paper's Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers.benchmarking.plots.style import (
    DASHES,
    DETAIL,
    HEIGHTS_INCHES,
    INK,
    MARKERS,
    SHADES,
    TEXT,
    UNNAMED,
    checked_picture_path,
    label_points,
    machine_line,
    new_figure,
    plain,
    save_picture,
    scale_for_scores,
    title,
)
from fastformers.benchmarking.saved_values import finite, positive, rows_of
from fastformers.counted import counted
from fastformers.errors import FormatError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GRID_SCHEMA",
    "SEARCH_SCHEMA",
    "GridPoint",
    "draw_search",
    "draw_tradeoff",
    "read_grid",
    "tradeoff_figure",
]

GRID_SCHEMA, SEARCH_SCHEMA = "fastformers-grid/1", "fastformers-search/1"

#: Dark shades only: lines on white.
_COLOURS = SHADES[:0:-1]


@dataclass(frozen=True)
class GridPoint:
    """One pruned model.

    Attributes:
        heads: attention heads of each layer that are left.
        ffn: neurons of each feed-forward layer that are left.
        layers: of the model.
        milliseconds: of one text.
        score: the task's metric, 0 to 100.
    """

    heads: int
    ffn: int
    layers: int
    milliseconds: float
    score: float


def draw_tradeoff(grid: Mapping[str, Any], path: str | Path) -> None:
    """Writes the picture of a grid of pruned models.

    Args:
        grid: ``{"schema": "fastformers-grid/1", "task", "metric", "points": [{"heads", "ffn", "layers",
            "milliseconds", "score"}]}``; ``machine`` is named in the small print where it is there.
        path: .png or .svg file to write; replaced in one step.

    Raises:
        FormatError: it is not a grid, has no points, or a field is absent or no number.
        ConfigError: the path's ending is another, or its folder does not exist.
        MissingExtraError: matplotlib is not installed.
    """
    target = checked_picture_path(Path(path))
    save_picture(tradeoff_figure(grid), target)


def draw_search(search: Mapping[str, Any], path: str | Path) -> None:
    """Writes the picture of the students that a search trained; arguments and errors as :func:`draw_tradeoff`.

    Args:
        search: ``search.json`` of ``fastformers recipe run --max-drop``; where it has students in INT8 and in float32,
            those in INT8 are drawn.
        path: .png or .svg file to write; replaced in one step.
    """
    draw_tradeoff(_grid_of(search), path)


def _grid_of(search: Mapping[str, Any]) -> dict[str, Any]:
    points = rows_of(search, "points", "search", schema=SEARCH_SCHEMA)
    shapes = [_shape_of(point, f"point {place}") for place, point in enumerate(points, 1)]
    in_int8 = any(shape.get("int8") is True for shape in shapes)
    drawn = [
        {**point, "layers": shape.get("depth")}
        for point, shape in zip(points, shapes, strict=True)
        if (shape.get("int8") is True) is in_int8
    ]
    return {**search, "schema": GRID_SCHEMA, "points": drawn}


def _shape_of(point: Any, where: str) -> Mapping[str, Any]:
    shape = point.get("candidate") if isinstance(point, Mapping) else None
    if not isinstance(shape, Mapping):
        raise FormatError(f"{where} has no candidate")
    return shape


def tradeoff_figure(grid: Mapping[str, Any]) -> Figure:
    """Draws a grid without saving it; see :func:`draw_tradeoff`. On a higher sheet while labels find no room."""
    points = read_grid(grid)
    lines = _lines(points)
    foot = _foot(grid, "Numbers beside the points: neurons of each feed-forward layer.")
    for height in HEIGHTS_INCHES:
        figure, axes = _sheet(grid, lines, height, foot)
        ordered = [point for line in lines.values() for point in line]
        placed = label_points(
            figure,
            axes,
            [(point.milliseconds, point.score) for point in ordered],
            [f"{point.ffn:,}" for point in ordered],
            DETAIL,
            lines=[[(point.milliseconds, point.score) for point in line] for line in lines.values()],
        )
        if placed is not None:
            return figure
    return _sheet(grid, lines, HEIGHTS_INCHES[-1], _foot(grid, UNNAMED))[0]


def _sheet(
    grid: Mapping[str, Any],
    lines: Mapping[tuple[int, int], Sequence[GridPoint]],
    height: float,
    foot: str,
) -> tuple[Figure, Axes]:
    """Draws everything but the labels."""
    points = [point for line in lines.values() for point in line]
    figure, axes = new_figure(height)
    _draw_lines(axes, lines, several_depths=len({point.layers for point in points}) > 1)
    _name_axes(grid, axes, points)
    title(figure, axes, _claim(grid, points), [foot])
    return figure, axes


def read_grid(grid: Mapping[str, Any]) -> list[GridPoint]:
    """Returns the points of a grid.

    Raises:
        FormatError: see :func:`draw_tradeoff`.
    """
    points = rows_of(grid, "points", "grid", schema=GRID_SCHEMA)
    return [_point(point, f"point {place}") for place, point in enumerate(points, 1)]


def _point(point: Any, where: str) -> GridPoint:
    if not isinstance(point, Mapping):
        raise FormatError(f"{where} is no object")
    return GridPoint(
        heads=_count(point, "heads", where),
        ffn=_count(point, "ffn", where),
        layers=_count(point, "layers", where),
        milliseconds=positive(point.get("milliseconds"), f"{where}: milliseconds"),
        score=finite(point.get("score"), f"{where}: score"),
    )


def _count(point: Mapping[str, Any], field: str, where: str) -> int:
    count = finite(point.get(field), f"{where}: {field}")
    if count < 1:
        raise FormatError(f"{where}: {field} is {count:g}, must be at least 1")
    return int(count)


def _lines(points: Sequence[GridPoint]) -> dict[tuple[int, int], list[GridPoint]]:
    """Points by (layers, heads), the largest first; each line from the smallest FFN to the largest."""
    lines: dict[tuple[int, int], list[GridPoint]] = {}
    for point in sorted(points, key=lambda point: (-point.layers, -point.heads, point.ffn)):
        lines.setdefault((point.layers, point.heads), []).append(point)
    return lines


def _draw_lines(
    axes: Axes, lines: Mapping[tuple[int, int], Sequence[GridPoint]], several_depths: bool
) -> None:
    for number, ((layers, heads), line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(
            [point.milliseconds for point in line],
            [point.score for point in line],
            color=colour,
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.8,
            marker=MARKERS[number % len(MARKERS)],
            markersize=8,
            markeredgecolor=INK,
            markeredgewidth=0.7,
            label=counted(heads, "head") + (f", {layers} layers" if several_depths else ""),
        )
    axes.legend(
        title="of each layer",
        fontsize=TEXT,
        title_fontsize=TEXT,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handlelength=3.2,
    )


def _name_axes(grid: Mapping[str, Any], axes: Axes, points: Sequence[GridPoint]) -> None:
    times, scores = [point.milliseconds for point in points], [point.score for point in points]
    scale_for_scores(axes, times, scores, room=(1.15, 0.15))
    axes.set_xlabel("time of one text in ms, logarithmic", fontsize=TEXT)
    axes.set_ylabel(f"{plain(grid.get('metric') or 'score')} (of 100)", fontsize=TEXT)


def _claim(grid: Mapping[str, Any], points: Sequence[GridPoint]) -> str:
    slowest = max(points, key=lambda point: point.milliseconds)
    fastest = min(points, key=lambda point: point.milliseconds)
    return (
        f"{plain(grid.get('title') or grid.get('task') or 'Pruning')}: {counted(len(points), 'size')}, "
        f"{slowest.milliseconds / fastest.milliseconds:.1f} times between the slowest and the fastest"
    )


def _foot(grid: Mapping[str, Any], note: str) -> str:
    machine = grid.get("machine") or {}
    return f"{note} {plain(machine) if isinstance(machine, str) else machine_line(machine)}"
