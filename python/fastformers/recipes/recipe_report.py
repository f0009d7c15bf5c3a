# SPDX-License-Identifier: MIT
"""What a recipe gave: each stage's score, time of a text and size, as a table, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import hypot
from pathlib import Path
from typing import Any

from fastformers._optional import require
from fastformers.measuring import Spread

__all__ = ["RecipeReport", "RecipeRow", "draw", "table"]

_SCHEMA = "fastformers-recipe/1"
_SIZE_INCHES, _DOTS_PER_INCH = (9.0, 5.5), 150
_MARK = 24.0  # pixels of a point's mark
_NEAR = 10
_SPOTS_APART = 5.0  # pixels along a line
#: Points of 1/72 inch across and up from a stage's mark to its label, the nearest first; the far ones get a line.
_LABELS_AWAY = sorted(
    (
        (across, sign * up)
        for up in range(_NEAR, 200, 26)
        for across in (0, 60, -60, 120, -120)
        for sign in (1, -1)
    ),
    key=lambda away: abs(away[0]) + abs(away[1]),
)
_COLOUR_OF_KIND = {
    "train": "#7f8c9b",
    "distill": "#1f77b4",
    "prune": "#d95f02",
    "quantize": "#7570b3",
    "compile": "#1b9e77",
}


@dataclass(frozen=True)
class RecipeRow:
    """One stage's result.

    Attributes:
        name: of the stage.
        kind: of the stage.
        inputs: what it was made of: role, e.g. ``"teacher"``, to the name of a stage or a given model.
        score: the task's score on the validation set, 0 to 100.
        drop: points lost against the recipe's first stage; negative where it gained.
        metrics: all metrics of the task.
        changed: share of validation answers that differ from those of the model this one was converted from; ``None``
            for stages that train or prune, and where numbers are predicted.
        milliseconds: of a text: one at a time, not padded, one thread, tokenizing not counted.
        speedup: how many times as fast as the first stage's model.
        megabytes: of the weights on disk.
        seconds: the stage took when it ran.
        cached: it did not run now.
        scored: validation examples that the score is of.
    """

    name: str
    kind: str
    inputs: dict[str, str]
    score: float
    drop: float
    metrics: dict[str, float]
    changed: float | None
    milliseconds: Spread
    speedup: Spread
    megabytes: float
    seconds: float
    cached: bool
    scored: int


@dataclass(frozen=True)
class RecipeReport:
    """A recipe's rows.

    Attributes:
        task: name.
        metric: what the score is the mean of.
        examples: in the training and in the validation set; how many of the latter a row's score is of, it says
            itself.
        padded: time of a text in ms and speed-up of the first stage's model padded to the recipe's length, or to
            as many tokens as the model has positions for: below 1.
        rows: one a stage, in order.
        recipe: name of the file.
        seed: of the recipe.
        machine: processor and kernels timed with, for people; one thread everywhere.
        notes: what a reader of the scores should know.
    """

    task: str
    metric: str
    examples: tuple[int, int]
    padded: tuple[Spread, Spread]
    rows: tuple[RecipeRow, ...]
    recipe: str
    seed: int
    machine: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {"schema": _SCHEMA, **asdict(self)}

    def __str__(self) -> str:
        """Returns the table and what its columns mean."""
        rows = [
            (
                row.name,
                row.kind,
                f"{row.score:.1f}",
                f"{0.0 - row.drop:+.1f}" if number else "",
                "" if row.changed is None else f"{100 * row.changed:.1f} %",
                f"{row.milliseconds.median:.2f}",
                f"{row.speedup.median:.1f}",
                f"{row.speedup.median / self.padded[1].median:.1f}",
                f"{row.megabytes:.1f}",
                "cached" if row.cached else f"{row.seconds:.0f} s",
            )
            for number, row in enumerate(self.rows)
        ]
        first = self.rows[0].name
        head = (
            "stage",
            "kind",
            "score",
            "points",
            "changed",
            "ms/text",
            "faster",
            "over padded",
            "MB",
            "took",
        )
        return "\n".join(
            (
                f"{self.task}: {self.metric} on {self.examples[1]} examples, trained on {self.examples[0]}, seed "
                f"{self.seed}",
                table(head, rows),
                f"points: against {first}; changed: answers that differ from the float model's;",
                "ms/text: one text at a time on one thread, not padded, tokenizing not counted;",
                f"faster: than {first}; over padded: than {first} with every text padded "
                f"({self.padded[0].median:.1f} ms)",
                f"machine: {self.machine}",  # a line of its own: names of CPUs have up to 50 characters
                *(f"note: {note}" for note in self.notes),
            )
        )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out columns: the first two to the left, the others, which are figures, to the right."""
    widths = [max(len(line[place]) for line in (head, *rows)) for place in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *rows)
    ]
    return "\n".join((lines[0], "-" * max(map(len, lines)), *lines[1:]))


def draw(report: RecipeReport, path: Path) -> None:
    """Draws score against speed, one point a stage.

    Args:
        report: what was measured.
        path: PNG file to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "train", "the picture of a recipe")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    speeds = [row.speedup.median / report.padded[1].median for row in report.rows]
    axes.plot(speeds, [row.score for row in report.rows], color="#c5ccd4", linewidth=1, zorder=1)
    for row, speed in zip(report.rows, speeds, strict=True):
        axes.scatter([speed], [row.score], s=70, color=_COLOUR_OF_KIND[row.kind], zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(min(speeds) / 1.8, max(speeds) * 1.8)
    axes.margins(y=0.3)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick < 2 * max(speeds)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"times as fast as {report.rows[0].name} padded (one text at a time, one thread)")
    axes.set_ylabel(f"{report.metric}, points of 100")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eef0f3")
    best = max(range(len(speeds)), key=lambda place: speeds[place])
    axes.set_title(
        f"{report.task}: {speeds[best]:.0f} times faster, {0.0 - report.rows[best].drop:+.1f} points\n{report.machine}",
        loc="left",
        fontsize=11,
    )
    _label_points(figure, axes, report, speeds)
    figure.savefig(path, format="png")


def _label_points(figure: Any, axes: Any, report: RecipeReport, speeds: Sequence[float]) -> None:
    """Writes a stage's name above or below its point, as near as no label covers another one, a point or a line."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    renderer = figure.canvas.get_renderer()
    places = axes.transData.transform([(x, row.score) for x, row in zip(speeds, report.rows, strict=True)])
    taken = [Bbox.from_bounds(x - _MARK / 2, y - _MARK / 2, _MARK, _MARK) for x, y in places]
    words: list[Bbox] = []
    lines: list[tuple[float, float]] = []
    for row, speed, place in zip(report.rows, speeds, places, strict=True):
        found = []
        for across, up in _LABELS_AWAY:
            label = axes.annotate(
                f"{row.name}\n{row.score:.1f}, {speed:.{0 if speed >= 10 else 1}f} times",
                (speed, row.score),
                xytext=(across, up),
                textcoords="offset points",
                ha="center",
                va="bottom" if up > 0 else "top",
                fontsize=9,
                arrowprops={"arrowstyle": "-", "color": "#9aa7b5"} if across or abs(up) > _NEAR else None,
            )
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer)  # of the words alone, without the line to the point
            across_fits = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            outside = not (across_fits and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1)
            line = [] if label.arrow_patch is None else _line(place, box)
            crossed = sum(any(each.contains(*spot) for spot in line) for each in words)
            crossed += any(box.contains(*spot) for spot in lines)
            found.append((sum(map(box.overlaps, [*taken, *words])) + outside + crossed, label, box, line))
            if found[-1][0] == 0:
                break
        _, chosen, box, line = min(found, key=lambda each: each[0])
        for _, label, *_ in found:
            if label is not chosen:
                label.remove()
        words.append(box)
        lines += line


def _line(place: Sequence[float], box: Any) -> list[tuple[float, float]]:
    """Spots along the line from a stage's mark to the middle of its label."""
    (x, y), across, up = place, (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    spots = max(2, int(hypot(across - x, up - y) / _SPOTS_APART))
    return [(x + (across - x) * spot / spots, y + (up - y) * spot / spots) for spot in range(spots + 1)]
