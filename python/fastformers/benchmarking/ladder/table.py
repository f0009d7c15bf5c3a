# SPDX-License-Identifier: MIT
"""A ladder as columns of text: one definition for the terminal, Markdown, CSV and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING

from fastformers.benchmarking.ladder.report import LadderReport, LadderRow
from fastformers.measuring import Spread

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BESIDE", "Column", "against_of", "columns_of", "notes_of", "show", "text_table"]

_WIDE = 150
_GAP = 2
BESIDE = "Beside the ladder"
_LEAST_IMPORTANT_FIRST = ("MJ", "MB", "paper", "total s", "p99 ms", "USD", "p50 ms", "step")
_JOULES_PER_MJ = 1e6


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: short.
        cell: text of a row.
        left: aligned to the left.
    """

    heading: str
    cell: Callable[[LadderRow], str]
    left: bool = False


_ALL: tuple[tuple[Column, Callable[[LadderRow], object]], ...] = (
    (Column("row", lambda row: f"{row.name}{_marks(row)}", left=True), lambda row: True),
    (Column("score", lambda row: "" if row.score is None else f"{row.score:.2f}"), lambda row: row.score),
    (Column("total s", lambda row: _number(row.total_seconds)), lambda row: True),
    (Column("queries/s", lambda row: _number(row.queries_per_second.median)), lambda row: True),
    (Column("p50 ms", lambda row: _number(row.latency_ms.median)), lambda row: True),
    (Column("p99 ms", lambda row: _number(row.p99_ms)), lambda row: True),
    (Column("step", lambda row: _times(row.step_speedup) if row.against else ""), lambda row: True),
    (Column("in all", lambda row: _times(row.total_speedup)), lambda row: True),
    (
        Column("paper", lambda row: "" if row.paper_speedup is None else f"{row.paper_speedup:.2f}x"),
        lambda row: row.paper_speedup,
    ),
    (Column("MB", lambda row: _number(row.memory_mb)), lambda row: True),
    (Column("USD", lambda row: _number(row.usd_per_100m)), lambda row: row.usd_per_100m),
    (
        Column(
            "MJ",
            lambda row: "" if row.joules_per_100m is None else _number(row.joules_per_100m / _JOULES_PER_MJ),
        ),
        lambda row: row.joules_per_100m,
    ),
)


def columns_of(rows: Sequence[LadderRow]) -> list[Column]:
    """Returns the columns that any of the rows fills."""
    return [column for column, value in _ALL if any(value(row) is not None for row in rows)]


def notes_of(report: LadderReport) -> list[str]:
    """Says in sentences what the columns and marks mean."""
    rows = (*report.rows, *report.comparisons)
    tokens = report.tokens
    methods = sorted({row.energy_method for row in rows if row.joules_per_100m is not None})
    busy = "" if report.utilisation == 1 else f", {100 * report.utilisation:.0f} % of the time busy"
    told = (
        (True, f"{report.machine_line}."),
        (
            True,
            f"{report.texts:,} texts of {tokens['shortest']:.0f} to {tokens['longest']:.0f} tokens, "
            f"{tokens['mean']:.0f} in the mean. {report.method}",
        ),
        (
            tokens["cut"] > 0,
            f"{tokens['cut']:,.0f} texts were longer than {report.settings['max_length']} tokens, and cut there.",
        ),
        (True, f"{_steps(report)} in all: as the first row. MB: weights and scratch memory."),
        (report.metric is not None, f"score: {report.metric}, of 100{_scored(report)}."),
        (
            report.metric is None,
            "The weights are random: speed does not depend on them, and no score is stated.",
        ),
        (
            any(row.paper_speedup is not None for row in rows),
            "paper: the published speed-up in all, on 8 cores of an Azure F16s_v2.",
        ),
        (report.price is not None, f"USD: of 100 million queries at {report.price}{busy}."),
        (bool(methods), f"MJ: megajoules of 100 million queries, by {', '.join(methods)}."),
        (any(row.extrapolated for row in rows), _extrapolations(report)),
        (
            report.repeated,
            "A row spread over 10 %, so all rounds were taken twice; these are the quieter ones.",
        ),
        (
            any(row.noisy for row in rows),
            "~ The rounds spread over 10 %: the machine was not quiet; do not rely on these rows.",
        ),
    )
    return [text for holds, text in told if holds]


def _scored(report: LadderReport) -> str:
    """On how many texts the score was found where these are not all."""
    measured = max(row.sample for row in report.rows)
    return (
        f", on the {measured:,} texts measured"
        if report.settings.get("most_texts") and measured < report.texts
        else ""
    )


def _steps(report: LadderReport) -> str:
    """Says which row a step is measured from: the one above, and for several pruned models the same one."""
    elsewhere: dict[str, list[str]] = {}
    for above, row in pairwise(report.rows):
        if row.against != above.name:
            elsewhere.setdefault(row.against, []).append(row.name)
    others = "".join(f"; {', '.join(names)}: as {against}" for against, names in elsewhere.items())
    return f"step: times as fast as the row above{others}."


def _extrapolations(report: LadderReport) -> str:
    """Says of how many texts the marked rows were timed, and how sure their totals are."""
    rows = [row for row in (*report.rows, *report.comparisons) if row.extrapolated]
    told = f"* Timed on a random sample, even over the lengths; the total of all {report.texts:,} texts is extrapolated"
    parts = [
        f"{row.name}: {row.sample:,} texts, {_number(low)} to {_number(high)} s"
        for row in rows
        for low, high in ([] if row.total_interval is None else [row.total_interval])
    ]
    if not parts:  # large batches
        return f"{told} from {max((row.sample for row in rows), default=0):,}."
    return f"{told}, with its 95 % confidence: {'; '.join(parts)}."


def text_table(report: LadderReport) -> str:
    """Returns the report as text, as a wide terminal shows it."""
    from rich.console import Console

    buffer = StringIO()
    show(Console(file=buffer, width=_WIDE), report)
    return buffer.getvalue().rstrip()


def show(console: Console, report: LadderReport) -> None:
    """Prints the report; where the terminal is narrow, without the columns that matter least."""
    from rich.markup import escape
    from rich.table import Table

    every = (*report.rows, *report.comparisons)
    columns, left_out = _fitting(columns_of(every), every, console.width)
    console.print(report.title, style="bold", highlight=False, markup=False)
    for heading, rows in (("", report.rows), (BESIDE, report.comparisons)):
        if not rows:
            continue
        if heading:
            console.print(f"\n{heading}", style="bold", highlight=False)
        table = Table(box=None, padding=(0, _GAP, 0, 0))
        for column in columns:
            table.add_column(column.heading, justify="left" if column.left else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(escape(column.cell(row)) for column in columns))
        console.print(table)
    console.print()
    for line in (*against_of(report), *notes_of(report)):
        console.print(line, highlight=False, markup=False)
    if left_out:
        console.print(f"Wider terminals show more: {', '.join(left_out)}.", highlight=False)


def against_of(report: LadderReport) -> list[str]:
    """Says which row each step beside the ladder is measured from."""
    parts = [f"{row.name} from {row.against}" for row in report.comparisons]
    return [f"{BESIDE}, step is measured: {'; '.join(parts)}."] if parts else []


def _fitting(
    columns: Sequence[Column], rows: Sequence[LadderRow], width: int
) -> tuple[list[Column], list[str]]:
    """Leaves columns out, the least important first, until the rest fits; returns both."""
    kept, left_out = list(columns), []
    for heading in _LEAST_IMPORTANT_FIRST:
        if sum(_width(column, rows) + _GAP for column in kept) <= width:
            break
        gone = [column for column in kept if column.heading == heading]
        kept = [column for column in kept if column.heading != heading]
        left_out += [column.heading for column in gone]
    return kept, left_out


def _width(column: Column, rows: Sequence[LadderRow]) -> int:
    return max(len(column.heading), *(len(column.cell(row)) for row in rows))


def _marks(row: LadderRow) -> str:
    return f"{' *' if row.extrapolated else ''}{' ~' if row.noisy else ''}"


def _times(speedup: Spread) -> str:
    return f"{speedup.median:,.0f}x" if speedup.median >= 1000 else f"{speedup.median:.2f}x"


def _number(value: float | None) -> str:
    """Three digits where they say something."""
    if value is None:
        return ""
    digits = next((count for least, count in ((100, 0), (10, 1), (1, 2)) if abs(value) >= least), 3)
    return f"{value:,.{digits}f}"
