# SPDX-License-Identifier: MIT
"""Draws a ladder of optimisations: accuracy against speed where rows have scores (the paper's Figure 3), else bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastformers.benchmarking.plots.ladder_rows import Rung, read_rungs
from fastformers.benchmarking.plots.style import (
    DETAIL,
    HEIGHTS_INCHES,
    INK,
    LINE,
    MARKERS,
    TEXT,
    UNNAMED,
    balanced,
    checked_picture_path,
    label_points,
    machine_line,
    new_figure,
    plain,
    plain_ticks,
    save_picture,
    scale_for_scores,
    shade,
    tidy,
    title,
)
from fastformers.errors import FormatError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LadderForm", "draw_ladder", "ladder_figure"]

#: Bars of the speed-up, points of accuracy against speed, or what the scores allow.
LadderForm = Literal["auto", "bars", "points"]

_NAME_WIDTH = 26
_LABEL_WIDTH = 24
_LEAST_POINTS = 2
_ROOM_FOR_LABELS = 14.0  # a bar's label needs about this factor of a logarithmic axis at most
_EXTRAPOLATED = "{mark}: measured on a random sample of the texts and extrapolated."
_NOISY = "~ the readings spread over 10 %: the machine was not quiet."


def draw_ladder(report: Mapping[str, Any], path: str | Path, form: LadderForm = "auto") -> None:
    """Writes the picture of a ladder.

    Args:
        report: ``LadderReport.to_dict()`` or its JSON, schema ``fastformers-ladder/1``.
        path: .png or .svg file to write; replaced in one step.
        form: ``"points"`` for accuracy against queries a second, ``"bars"`` for the cumulative speed-up; ``"auto"``
            draws points when at least two rows have a score.

    Raises:
        FormatError: the report is not a ladder, or lacks what is drawn.
        ConfigError: the path's ending is another, or its folder does not exist.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> draw_ladder(json.loads(Path("out/ladder.json").read_text()), "out/ladder.png")
    """
    target = checked_picture_path(Path(path))
    save_picture(ladder_figure(report, form), target)


def ladder_figure(report: Mapping[str, Any], form: LadderForm = "auto") -> Figure:
    """Draws a ladder without saving it; see :func:`draw_ladder`."""
    rungs = read_rungs(report)
    scored = [rung for rung in rungs if rung.score is not None]
    if form == "points" and not scored:
        raise FormatError("no row of the ladder has a score: only the form 'bars' can be drawn")
    if form == "bars" or (form == "auto" and len(scored) < _LEAST_POINTS):
        return _bars(report, rungs)
    return _points(report, scored)


# --- accuracy against queries a second --------------------------------------------------------------------------------


def _points(report: Mapping[str, Any], rungs: Sequence[Rung]) -> Figure:
    """Draws the points, on a higher sheet while the labels find no room."""
    texts = [_point_label(rung) for rung in rungs]
    lines = [_places(_climb(rungs))]
    for height in HEIGHTS_INCHES:
        figure, axes = _sheet(report, rungs, height)
        if label_points(figure, axes, _places(rungs), texts, DETAIL, lines=lines) is not None:
            return figure
    return _sheet(report, rungs, HEIGHTS_INCHES[-1], UNNAMED)[0]


def _sheet(
    report: Mapping[str, Any], rungs: Sequence[Rung], height: float, *notes: str
) -> tuple[Figure, Axes]:
    """Draws everything but the labels."""
    figure, axes = new_figure(height)
    _mark_points(axes, rungs)
    _name_axes(report, axes, rungs)
    foot = [*notes, *_foot(report, rungs, "Hollow", with_cost=False)]
    title(figure, axes, _claim(report, rungs, f", {_gained(rungs)} points"), foot)
    return figure, axes


def _mark_points(axes: Axes, rungs: Sequence[Rung]) -> None:
    across, up = zip(*_places(_climb(rungs)), strict=True)
    axes.plot(across, up, color=LINE, linewidth=1.2, zorder=1)
    for number, rung in enumerate(rungs):
        speed = rung.queries_per_second
        axes.errorbar(
            *_places([rung])[0],
            xerr=[[speed.median - speed.low], [speed.high - speed.median]],
            marker=MARKERS[number % len(MARKERS)],
            markersize=9,
            color=INK,
            markerfacecolor="white" if rung.extrapolated else shade(number, len(rungs)),
            markeredgecolor=INK,
            elinewidth=1.2,
            capsize=2,
            zorder=3,
        )


def _climb(rungs: Sequence[Rung]) -> list[Rung]:
    """Rows faster than all before them: those that a line joins. Others are comparisons beside the way up."""
    joined: list[Rung] = []
    for rung in rungs:
        if not joined or rung.queries_per_second.median > joined[-1].queries_per_second.median:
            joined.append(rung)
    return joined


def _places(rungs: Sequence[Rung]) -> list[tuple[float, float]]:
    return [(rung.queries_per_second.median, rung.score or 0.0) for rung in rungs]


def _name_axes(report: Mapping[str, Any], axes: Axes, rungs: Sequence[Rung]) -> None:
    speeds = [rung.queries_per_second.median for rung in rungs]
    scores = [rung.score or 0.0 for rung in rungs]
    scale_for_scores(axes, speeds, scores, room=(2, 0.35))
    axes.set_xlabel(
        "queries per second, logarithmic (line across a point: half of the rounds)", fontsize=TEXT
    )
    axes.set_ylabel(f"{_metric(report)} (of 100)", fontsize=TEXT)


def _point_label(rung: Rung) -> str:
    faster = "" if rung.speedup.median == 1 else f", {_times(rung.speedup.median)} times"
    noisy = " ~" if rung.noisy else ""
    return f"{balanced(plain(rung.name), _LABEL_WIDTH)}\n{rung.score:.1f}{faster}{noisy}"


# --- bars of the speed-up ---------------------------------------------------------------------------------------------


def _bars(report: Mapping[str, Any], rungs: Sequence[Rung]) -> Figure:
    figure, axes = new_figure(1.9 + 0.62 * len(rungs))
    speeds = [rung.speedup for rung in rungs]
    base = 0.8 * min(1.0, min(speed.low for speed in speeds))
    bars = axes.barh(
        range(len(rungs)),
        [speed.median - base for speed in speeds],
        left=base,
        xerr=[[s.median - s.low for s in speeds], [s.high - s.median for s in speeds]],
        color=[shade(number, len(rungs)) for number in range(len(rungs))],
        edgecolor=INK,
        linewidth=0.6,
        height=0.62,
        error_kw={"ecolor": INK, "capsize": 3, "linewidth": 1},
    )
    for number, (bar, rung) in enumerate(zip(bars, rungs, strict=True)):
        bar.set_hatch("//" if rung.extrapolated else "")
        axes.annotate(
            _bar_label(rung),
            (rung.speedup.high, number),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
            color=INK,
        )
    axes.set_yticks(range(len(rungs)), [balanced(plain(rung.name), _NAME_WIDTH) for rung in rungs])
    axes.invert_yaxis()
    _name_bar_axis(axes, base, max(speed.high for speed in speeds), plain(rungs[0].name))
    title(figure, axes, _claim(report, rungs, ""), _foot(report, rungs, "Hatched", with_cost=True))
    return figure


def _name_bar_axis(axes: Axes, base: float, high: float, first: str) -> None:
    axes.set_xscale("log")
    tidy(axes, "x")
    ticks, texts = plain_ticks(1.0 if high > 1 else base, high)
    axes.set_xlim(base, high * max(2.0, min(_ROOM_FOR_LABELS, (high / base) ** 0.75)))
    axes.set_xticks(ticks, texts)
    axes.minorticks_off()
    axes.set_xlabel(
        f"times as fast as “{first}”, logarithmic (black line: half of the rounds)", fontsize=TEXT
    )


def _bar_label(rung: Rung) -> str:
    parts = [
        "" if rung.speedup.median == 1 else f"{_times(rung.speedup.median)} times",
        f"{_count(rung.queries_per_second.median)} queries/s",
        "" if rung.usd is None else f"{_count(rung.usd)} USD",
        "" if rung.score is None else f"score {rung.score:.1f}",
    ]
    return ", ".join(part for part in parts if part) + (" ~" if rung.noisy else "")


# --- words ------------------------------------------------------------------------------------------------------------


def _claim(report: Mapping[str, Any], rungs: Sequence[Rung], change: str) -> str:
    best = max(rungs, key=lambda rung: rung.speedup.median)
    about = plain(report.get("title") or report.get("task") or "Ladder")
    if best.noisy or rungs[0].noisy:
        return f"{about}: readings of a machine that was not quiet"
    return f"{about}: up to {_times(best.speedup.median)} times the speed{change}"


def _gained(rungs: Sequence[Rung]) -> str:
    best = max(rungs, key=lambda rung: rung.speedup.median)
    change = round((best.score or 0.0) - (rungs[0].score or 0.0), 1) or 0.0  # no minus before nothing
    return f"{change:+.1f}".replace("-", "−")  # noqa: RUF001 - a minus sign


def _metric(report: Mapping[str, Any]) -> str:
    return plain(report.get("metric") or "score")


def _foot(report: Mapping[str, Any], rungs: Sequence[Rung], mark: str, *, with_cost: bool) -> list[str]:
    texts, price = report.get("texts"), report.get("price")
    named = price if isinstance(price, Mapping) else {}
    usd, name = named.get("usd_per_hour"), named.get("name")
    paid = f" at {usd:g} an hour ({plain(name)})" if isinstance(usd, int | float) else ""
    notes: tuple[tuple[str, Callable[[Rung], bool]], ...] = (
        (_EXTRAPOLATED.format(mark=mark), lambda rung: rung.extrapolated),
        (_NOISY, lambda rung: rung.noisy),
        (f"USD: of 100 million queries{paid}.", lambda rung: with_cost and rung.usd is not None),
    )
    known = [f"{texts:,} texts" if isinstance(texts, int) else "", machine_line(report.get("machine") or {})]
    return [
        "; ".join(part for part in known if part),
        " ".join(note for note, holds in notes if any(map(holds, rungs))),
    ]


def _times(factor: float) -> str:
    return f"{factor:.1f}" if factor < 100 else f"{factor:,.0f}"


def _count(number: float) -> str:
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:,.0f}"
