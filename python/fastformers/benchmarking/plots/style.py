# SPDX-License-Identifier: MIT
"""What all pictures share: size, fonts, colours that stay apart in grey, shapes, labels beside points, and saving."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from math import hypot
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from fastformers._optional import require
from fastformers.benchmarking.plots.boxes import Box, Place, place_labels
from fastformers.benchmarking.wording import processor
from fastformers.errors import ConfigError
from fastformers.files.replaced_file import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

__all__ = [
    "DASHES",
    "DETAIL",
    "HEIGHTS_INCHES",
    "INK",
    "LINE",
    "MARKERS",
    "SHADES",
    "TEXT",
    "UNNAMED",
    "WIDTH_INCHES",
    "balanced",
    "checked_picture_path",
    "label_points",
    "machine_line",
    "new_figure",
    "plain",
    "plain_ticks",
    "save_picture",
    "scale_for_scores",
    "shade",
    "tidy",
    "title",
]

WIDTH_INCHES = 10.0
#: Of a sheet, one after the other while labels find no room.
HEIGHTS_INCHES = (6.0, 7.5, 9.5, 12.0, 16.0)
#: Small print of a picture whose points got no labels.
UNNAMED = "Points without names: there is no room for so many; the file that was drawn has them."
_DOTS_PER_INCH = 150
_MARGIN_INCHES = 0.12
_POINTS_PER_INCH = 72

INK, LINE, _GRID, _QUIET = "#16202c", "#9aa7b5", "#e6eaee", "#5b6672"
TITLE, TEXT, DETAIL = 13, 10.5, 9
#: Light to dark: they stay apart when printed in grey.
SHADES = ("#c9d6e4", "#8fb0cf", "#4f86b5", "#1f5c8f", "#12344f")
#: Told apart without colours.
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_MARK_PIXELS = 18.0
_GAP_PIXELS = 6.0
_STEP_PIXELS = 8.0
_FAR_PIXELS = 26.0  # from here a line leads from the point to its label
_TITLE_WIDTH = 84
_FOOT_WIDTH = 150

#: Steps between powers of ten, from coarse to fine.
_STEPS = (
    (1.0,),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0),
    tuple(step / 10 for step in (*range(10, 20), *range(20, 50, 2), *range(50, 100, 5))),
)
_POWERS = range(-6, 10)
_FEW_TICKS = 3
_ROUNDING = 1e-9
_FORMATS = {".png": "png", ".svg": "svg"}


def new_figure(height_inches: float) -> tuple[Figure, Axes]:
    """Makes a figure with one pair of axes, without any window or global state of matplotlib.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "a picture")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=_MARGIN_INCHES, h_pad=_MARGIN_INCHES)
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=_DOTS_PER_INCH, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def tidy(axes: Axes, grid: str) -> None:
    """Leaves the frame's lower and left line, and a quiet grid along ``"x"``, ``"y"`` or ``"both"``."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(LINE)
    axes.tick_params(colors=INK, labelsize=TEXT, length=3)
    axes.tick_params(axis="x", pad=8)  # below the lowest text of the other axis, also in the corner
    axes.grid(axis=grid, color=_GRID, linewidth=1)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def scale_for_scores(
    axes: Axes, across: Sequence[float], scores: Sequence[float], *, room: tuple[float, float]
) -> None:
    """Scales axes for scores above a logarithmic quantity, with room for labels.

    Args:
        axes: to be scaled.
        across: all values of the logarithmic axis, positive.
        scores: all of the other axis.
        room: factor beyond the values across; share of the scores' range beyond the scores.
    """
    low, high = min(across) / room[0], max(across) * room[0]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(*plain_ticks(low, high))
    axes.minorticks_off()
    beyond = max(room[1] * (max(scores) - min(scores)), 0.5)
    axes.set_ylim(min(scores) - beyond, max(scores) + beyond)
    tidy(axes, "both")


def title(figure: Figure, axes: Axes, head: str, foot: Sequence[str]) -> None:
    """Writes a title above and small print below."""
    axes.set_title(balanced(head, _TITLE_WIDTH), loc="left", fontsize=TITLE, color=INK, weight="bold", pad=12)
    lines = [balanced(line, _FOOT_WIDTH) for line in foot if line]
    if lines:
        figure.supxlabel("\n".join(lines), x=0.012, ha="left", fontsize=DETAIL - 0.5, color=_QUIET)


def plain(text: object) -> str:
    r"""Returns a text of which matplotlib reads nothing as a formula.

    Example:
        >>> plain("a $ and a $")
        'a \\$ and a \\$'
    """
    return str(text).replace("$", r"\$")


def balanced(text: str, width: int) -> str:
    r"""Breaks a text into as few lines as fit the width, about equally long.

    Example:
        >>> balanced("pruned to 9 heads, FFN 900", 24)
        'pruned to 9\nheads, FFN 900'
    """
    lines = fill(text, width).count("\n")
    narrowest = next(n for n in range(1, width + 1) if fill(text, n).count("\n") <= lines)
    longest_word = max(map(len, text.split()), default=1)
    return fill(text, max(narrowest, min(width, longest_word)))


def plain_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Returns round ticks for a logarithmic axis and their texts without exponents.

    Example:
        >>> plain_ticks(0.5, 25)
        ([0.5, 1.0, 2.0, 5.0, 10.0, 20.0], ['0.5', '1', '2', '5', '10', '20'])
        >>> plain_ticks(1, 5000)[1]
        ['1', '10', '100', '1,000']
    """
    ticks: list[float] = []
    for steps in _STEPS:
        every = (step * 10.0**power for power in _POWERS for step in steps)
        ticks = [tick for tick in every if low <= tick * (1 + _ROUNDING) and tick <= high * (1 + _ROUNDING)]
        if len(ticks) >= _FEW_TICKS:
            break
    return ticks, [f"{tick:,.6f}".rstrip("0").rstrip(".") for tick in ticks]


def shade(number: int, of: int) -> str:
    """Returns one of ``of`` shades from light to dark."""
    place = 0.0 if of < 2 else number / (of - 1) * (len(SHADES) - 1)
    below = min(int(place), len(SHADES) - 2)
    low, high = ([int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in (SHADES[below], SHADES[below + 1]))
    mixed = [round(a + (b - a) * (place - below)) for a, b in zip(low, high, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def label_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    size: float,
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> list[Annotation] | None:
    """Writes a text beside each point so that no text covers another one or a point.

    Args:
        figure: with everything but the labels drawn, in its final size.
        axes: with final limits.
        points: in the axes' data units.
        texts: one for each point; may have several lines.
        size: of the font.
        lines: drawn lines, each the points it joins, in data units; texts keep off them where that is easy.

    Returns:
        The labels, or ``None`` when there is no room: make the figure higher and begin again.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    pixels = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    frame = axes.get_window_extent()
    bounds = Box(frame.x0, frame.y0, frame.x1, frame.y1).grown(-_GAP_PIXELS)
    drawn = [box for line in lines for box in _along(axes.transData.transform(line))]
    sizes = _sizes(figure, texts, size)
    places = place_labels(pixels, sizes, bounds, marker=_MARK_PIXELS, gap=_GAP_PIXELS, lines=drawn)
    if places is None:
        return None
    return [
        _write(axes, point, pixel, text, place, size)
        for point, pixel, text, place in zip(points, pixels, texts, places, strict=True)
    ]


def _along(line: Any) -> Iterator[Box]:
    """Yields small boxes along a line, float [points, 2] in pixels."""
    for (x, y), (to_x, to_y) in pairwise(line):
        steps = max(1, int(hypot(to_x - x, to_y - y) / _STEP_PIXELS))
        for step in range(steps + 1):
            share = step / steps
            yield Box.around(x + (to_x - x) * share, y + (to_y - y) * share, _STEP_PIXELS, _STEP_PIXELS)


def _sizes(figure: Figure, texts: Sequence[str], size: float) -> list[tuple[float, float]]:
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    sizes = []
    for text in texts:
        trial = figure.text(0, 0, text, fontsize=size)
        extent = trial.get_window_extent(renderer)
        trial.remove()
        sizes.append((extent.width, extent.height))
    return sizes


def _write(
    axes: Axes,
    point: tuple[float, float],
    pixel: tuple[float, float],
    text: str,
    place: Place,
    size: float,
) -> Annotation:
    from matplotlib.patheffects import withStroke

    x, y = place.box.centre
    points_per_pixel = _POINTS_PER_INCH / _DOTS_PER_INCH
    leader = {"arrowstyle": "-", "color": LINE, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4}
    label = axes.annotate(
        text,
        point,
        xytext=((x - pixel[0]) * points_per_pixel, (y - pixel[1]) * points_per_pixel),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        color=INK,
        zorder=4,
        arrowprops=leader if place.distance > _FAR_PIXELS else None,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    label.set_in_layout(False)
    return label


def machine_line(machine: Any) -> str:
    """Names processor, cores and kernels in one line; empty when the machine is not described."""
    cpu = machine.get("cpu") if isinstance(machine, Mapping) else None
    if not isinstance(cpu, Mapping):
        return ""
    packages = machine.get("packages")
    torch = packages.get("torch") if isinstance(packages, Mapping) else None
    parts = [
        processor(machine),
        f"kernels {cpu.get('active_isa', '?')}",
        f"torch {torch}" if torch else "",
    ]
    return ", ".join(part for part in parts if part)


def checked_picture_path(path: Path) -> Path:
    """Returns the path if a picture can be written there.

    Raises:
        ConfigError: it ends in something else than .png or .svg, or its folder does not exist.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path}: a picture's name must end in {' or '.join(_FORMATS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    return path


def save_picture(figure: Figure, path: Path) -> None:
    """Writes the figure as its name's ending says; the same figure gives the same bytes.

    Raises:
        ConfigError: see :func:`checked_picture_path`.
    """
    import matplotlib

    kind = _FORMATS[checked_picture_path(path).suffix.lower()]
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fastformers"}):
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    replace_file(path, buffer.getvalue())
