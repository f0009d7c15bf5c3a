# SPDX-License-Identifier: MIT
"""What the demo prints: first what is compared; at its end the table, its meaning and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastformers.benchmarking.demo_report import DemoReport

__all__ = ["announce", "show"]

_WITH_WAITING = "*"


def announce(console: Console, model: str, ways: Sequence[tuple[str, str]]) -> None:
    """Says what will be compared.

    Args:
        console: where to print.
        model: name of the encoder.
        ways: name and meaning of each row of the table to come.
    """
    console.print(
        f"[bold]{escape(model)}[/], a pretrained BERT-type encoder, learns to sort messages to a shop by what they ask "
        "for. Then it is made cheaper rung by rung, on this CPU:",
        highlight=False,
    )
    listing = Table.grid(padding=(0, 1))
    for number, (name, meaning) in enumerate(ways, start=1):
        listing.add_row(f" {number}", f"[bold]{escape(name)}[/]: {escape(meaning)}")
    console.print(listing)


def show(console: Console, report: DemoReport, json_path: Path, picture_path: Path) -> None:
    """Prints the table, says what it means, and what to do next.

    Args:
        console: where to print.
        report: what was measured.
        json_path: where the numbers were saved.
        picture_path: where the picture was saved.
    """
    texts = report.texts
    console.print(
        f"Machine: {escape(report.machine_line())}\n"
        f"Texts: {_how_many(texts)}, {texts['classes']} classes, {texts['shortest']} to {texts['longest']} tokens "
        f"(median {texts['median']}); times include tokenizing\n",
        highlight=False,
    )
    console.print(_table(report))
    listing = Table.grid(padding=(0, 1))
    for subject, sentence in _meaning(report):
        listing.add_row(f"[bold]{subject}[/]", sentence)
    saved = f"{json_path} (all numbers), {picture_path} (the same as a picture)"
    listing.add_row("[bold]Saved[/]", escape(saved))
    listing.add_row(
        "[bold]Next[/]",
        "[bold]fastformers recipe show own-csv[/] is the same road for texts and labels of yours; "
        "[bold]fastformers doctor[/] says what this machine offers.",
    )
    console.print(listing)


def _how_many(texts: dict[str, int]) -> str:
    if texts["measured"] == texts["held_out"]:
        return f"all {texts['held_out']} held out"
    why = "as --quick asks" if texts.get("quick") else "as many as fit in the time"
    return f"{texts['measured']} of {texts['held_out']} held out, {why}"


def _table(report: DemoReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for heading in ("right", "ms a text", "texts/s", "this step", "in all", "linear MB"):
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for number, row in enumerate(report.rows, start=1):
        table.add_row(
            f"{number} {escape(row.name)}",
            f"{100 * row.accuracy:.1f} %",
            f"{row.latency_ms.median:.2f}{_WITH_WAITING if row.under_load else ' '}",
            f"{row.queries_per_second.median:.0f}",
            f"{row.step_speedup.median:.1f}x" if number > 1 else "",
            f"[bold]{row.total_speedup.median:.1f}x[/]" if number > 1 else "",
            f"{row.linear_mb:.1f}",
        )
    return table


def _meaning(report: DemoReport) -> list[tuple[str, str]]:
    first, last = report.rows[0], report.rows[-1]
    error = 100 * sqrt(first.accuracy * (1 - first.accuracy) / report.texts["measured"])
    speed = last.total_speedup
    engine = next(row for row in report.rows if row.name == "INT8 engine")
    return [
        (
            _WITH_WAITING,
            "under load: all texts are handed in at once, and a text's time includes its waiting in the queue; texts/s "
            "is what counts there.",
        ),
        (
            "Speed",
            f"the last row answers {speed.median:.0f} times as many texts as the first (half of the rounds: "
            f"{speed.low:.0f} to {speed.high:.0f} times), which answers one padded text at a time.",
        ),
        (
            "Answers",
            f"right answers go from {100 * first.accuracy:.1f} % to {100 * last.accuracy:.1f} %; with "
            f"{report.texts['measured']} texts one standard error is {error:.1f} points, so rows closer than that are "
            f"equal. INT8 changed {_percent(1 - engine.same_as_before)} of the student's answers.",
        ),
        (
            "Memory",
            "linear MB: weights of the linear layers as they are held. Those of an engine are one block, filled up to "
            "whole pages of 2 MB and shared by its instances; word embeddings, which stay float32, are not counted.",
        ),
        (
            "Training",
            f"{report.texts['trained']} messages; all stages took {report.training_seconds:.0f} s"
            f"{' in an earlier run, whose models were used' if report.cached else ''}.",
        ),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
