# SPDX-License-Identifier: MIT
"""Ladders of several tasks side by side: score and speed-up of every row on every task (the paper's Table 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers.benchmarking.ladder.report import LadderReport, LadderRow
from fastformers.benchmarking.ladder.run import climb
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import recipe_systems
from fastformers.errors import ConfigError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "TaskCell",
    "TasksReport",
    "TasksRow",
    "climb_tasks",
    "show_tasks",
    "tasks_markdown",
    "tasks_report",
]

SCHEMA = "fastformers-tasks/1"

_OVERALL = "overall"


@dataclass(frozen=True)
class TaskCell:
    """One row on one task.

    Attributes:
        score: the task's metric, 0 to 100; ``None`` without one.
        speedup: times as fast as the task's first row.
        marks: ``"*"`` extrapolated from a sample, ``"~"`` noisy.
    """

    score: float | None
    speedup: float
    marks: str = ""


@dataclass(frozen=True)
class TasksRow:
    """One row on all tasks.

    Attributes:
        name: of the row in the ladders.
        tasks: by task; a task whose ladder has no such row is absent.
        overall: mean of the scores, and the first rows' total time divided by this row's; ``None`` where a task is
            absent.
    """

    name: str
    tasks: Mapping[str, TaskCell]
    overall: TaskCell | None


@dataclass(frozen=True)
class TasksReport:
    """Several ladders side by side.

    Attributes:
        tasks: in order.
        rows: in the order of the first ladder, then what only others have.
        machine_line: what they were measured on.
    """

    tasks: tuple[str, ...]
    rows: tuple[TasksRow, ...]
    machine_line: str

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values, schema ``fastformers-tasks/1``."""
        return {
            "schema": SCHEMA,
            "tasks": list(self.tasks),
            "rows": [asdict(row) for row in self.rows],
            "machine": self.machine_line,
        }


def climb_tasks(
    recipes: Sequence[str | Path],
    data: str | Path,
    output: str | Path,
    settings: LadderSettings,
    *,
    overwrite: bool = False,
    tell: Callable[[str], None] = print,
) -> TasksReport:
    """Measures the ladder of each recipe's output, each in a folder of its own, and puts them side by side.

    Args:
        recipes: output folders of recipes, one a task; their names name the folders of results.
        data: folder that holds the data of all of them.
        output: folder of results; ``tasks.json`` and ``tasks.md`` are written there.
        settings: of every ladder.
        overwrite: throw readings of other ladders away.
        tell: takes one line at a time.

    Raises:
        ConfigError: two folders have the same name; otherwise as :func:`fastformers.ladder`.
    """
    names = [Path(recipe).resolve().name for recipe in recipes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two recipes' folders are called {twice!r}, and so would be their results: rename one"
        )
    every = [
        recipe_systems(recipe, data) for recipe in recipes
    ]  # what is missing is told before hours are spent
    reports = {
        name: climb(systems, Path(output) / name, settings, overwrite=overwrite, tell=tell)
        for name, systems in zip(names, every, strict=True)
    }
    report = tasks_report(reports)
    replace_file(Path(output) / "tasks.json", json_bytes(report.to_dict()))
    replace_file(Path(output) / "tasks.md", tasks_markdown(report).encode("utf-8"))
    tell(f"Saved in {output}: tasks.json, tasks.md, and a folder for each task")
    return report


def tasks_report(reports: Mapping[str, LadderReport]) -> TasksReport:
    """Puts ladders side by side.

    Args:
        reports: at least one; by the name that a task without one of its own gets.
    """
    tasks = [report.task for report in reports.values()]
    distinct = len(set(tasks)) == len(tasks)
    named = {(report.task if distinct and report.task else name): report for name, report in reports.items()}
    rows = dict.fromkeys(row.name for report in named.values() for row in report.rows)
    return TasksReport(
        tasks=tuple(named),
        rows=tuple(_row(name, named) for name in rows),
        machine_line=next(iter(named.values())).machine_line,
    )


def _row(name: str, reports: Mapping[str, LadderReport]) -> TasksRow:
    found = {task: row for task, report in reports.items() for row in report.rows if row.name == name}
    cells = {task: _cell(row) for task, row in found.items()}
    return TasksRow(name, cells, _overall(found, reports) if len(found) == len(reports) else None)


def _cell(row: LadderRow) -> TaskCell:
    return TaskCell(row.score, row.total_speedup.median, _marks([row]))


def _overall(rows: Mapping[str, LadderRow], reports: Mapping[str, LadderReport]) -> TaskCell:
    scores = [row.score for row in rows.values() if row.score is not None]
    slow = sum(report.rows[0].total_seconds for report in reports.values())
    fast = sum(row.total_seconds for row in rows.values())
    mean = sum(scores) / len(scores) if len(scores) == len(rows) else None
    return TaskCell(mean, slow / fast, _marks(list(rows.values())))


def _marks(rows: Sequence[LadderRow]) -> str:
    marks = (("*", any(row.extrapolated for row in rows)), ("~", any(row.noisy for row in rows)))
    return "".join(mark for mark, holds in marks if holds)


def tasks_markdown(report: TasksReport) -> str:
    """Returns the table and its notes."""
    headings = ["row", *report.tasks, _OVERALL]
    lines = [f"| {' | '.join(headings)} |", f"| :-- |{' --: |' * (len(headings) - 1)}"]
    for row in report.rows:
        cells = (_text(cell).replace("*", r"\*").replace("~", r"\~") for cell in _cells(report, row))
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return (
        "\n".join(["# Ladders of all tasks", "", *lines, "", *(f"{note}  " for note in _notes(report))])
        + "\n"
    )


def show_tasks(console: Console, report: TasksReport) -> None:
    """Prints the table and its notes."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("row", no_wrap=True)
    for heading in (*report.tasks, _OVERALL):
        table.add_column(escape(heading), justify="right")
    for row in report.rows:
        table.add_row(escape(row.name), *map(_text, _cells(report, row)))
    console.print(table)
    for note in _notes(report):
        console.print(note, highlight=False, markup=False)


def _cells(report: TasksReport, row: TasksRow) -> list[TaskCell | None]:
    return [*(row.tasks.get(task) for task in report.tasks), row.overall]


def _text(cell: TaskCell | None) -> str:
    if cell is None:
        return ""
    score = "" if cell.score is None else f"{cell.score:.1f} "
    return f"{score}{cell.speedup:,.1f}x{cell.marks}"


def _notes(report: TasksReport) -> list[str]:
    marks = "".join(cell.marks for row in report.rows for cell in row.tasks.values())
    notes = [
        f"{report.machine_line}.",
        "Score of 100, and times as fast as the first row. Overall: mean of the scores, ratio of the total times.",
    ]
    if "*" in marks:
        notes.append(
            "* Timed on a sample of the texts and extrapolated; each task's own ladder states how surely."
        )
    if "~" in marks:
        notes.append("~ The rounds spread over 10 %: the machine was not quiet.")
    return notes
