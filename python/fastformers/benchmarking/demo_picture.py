# SPDX-License-Identifier: MIT
"""Draws the demo's result: texts per second of each rung, with speed-up, right answers and memory beside."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from fastformers.benchmarking.demo_report import DemoReport, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_COLOURS = (
    "#e3e6ea",
    "#cbd3dd",
    "#b0bfd0",
    "#8fa9c4",
    "#6b93bb",
    "#4175a6",
    "#1f4e80",
)  # light to dark: they stay apart when printed in grey
_SIZE_INCHES, _DOTS_PER_INCH = (10.0, 8.0), 150
_ROOM_FOR_LABELS = 1.75  # the axis ends this much beyond the longest bar


def draw(report: DemoReport, path: Path) -> None:
    """Writes the picture.

    Args:
        report: what was measured.
        path: PNG file to write.
    """
    figure_of(report).savefig(path, format="png")


def figure_of(report: DemoReport) -> Figure:
    """Draws one horizontal bar per row, without any window or global state of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    speeds = [row.queries_per_second for row in report.rows]
    positions = range(len(report.rows))
    axes.barh(
        positions,
        [speed.median for speed in speeds],
        xerr=[[s.median - s.low for s in speeds], [s.high - s.median for s in speeds]],
        color=_COLOURS,
        height=0.62,
        error_kw={"ecolor": "black", "capsize": 3, "linewidth": 1},
    )
    for position, row in zip(positions, report.rows, strict=True):
        _label(axes, row, position)
    axes.set_yticks(positions, [fill(row.name, 15) for row in report.rows], fontsize=11)
    axes.invert_yaxis()
    axes.set_xlim(0, max(speed.high for speed in speeds) * _ROOM_FOR_LABELS)
    axes.set_xlabel("texts per second, tokenizing included (black line: half of the rounds)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(report), loc="left", fontsize=11)
    return figure


def _label(axes: Axes, row: Row, position: int) -> None:
    """Writes a row's figures to the right of its bar: speed in bold, the rest below."""
    end = (row.queries_per_second.high, position)
    speed = f"{row.queries_per_second.median:.0f} texts/s{' under load' if row.under_load else ''}"
    faster = "" if row.total_speedup.median == 1 else f", {row.total_speedup.median:.1f} times faster"
    share = "with waiting" if row.under_load else "per text"
    details = f"{100 * row.accuracy:.1f} % right, {row.latency_ms.median:.2f} ms {share}, {row.linear_mb:.1f} MB linear"
    for text, height, weight in ((speed + faster, 9, "bold"), (details, -9, "normal")):
        axes.annotate(
            text, end, xytext=(8, height), textcoords="offset points", va="center", weight=weight, fontsize=10
        )


def _title(report: DemoReport) -> str:
    first, last = report.rows[0], report.rows[-1]
    return (
        f"{report.model}, fine-tuned to sort messages into {report.texts['classes']} classes: "
        f"{last.total_speedup.median:.0f} times the texts per second,\n"
        f"{100 * first.accuracy:.1f} % right before, {100 * last.accuracy:.1f} % after "
        f"({report.texts['measured']} texts that were not trained on)\n"
        f"{report.machine_line()}"
    )
