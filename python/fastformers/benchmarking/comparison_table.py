# SPDX-License-Identifier: MIT
"""Prints a comparison of engines: a table for each batch, the fastest first, and who was left out and why."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastformers.benchmarking.comparison import Comparison, Measured

__all__ = ["show_comparison"]


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Prints everything.

    Args:
        console: where to print.
        comparison: what was measured.
    """
    settings = comparison.settings
    console.print(
        f"{settings.threads} thread(s) each, cores {', '.join(map(str, comparison.cores))}; "
        f"{settings.rounds} interleaved rounds; cosine: answers compared with torch float32.",
        highlight=False,
    )
    for batch, lengths in comparison.lengths.items():
        measured = [one for one in comparison.measured if one.batch == batch]
        if measured:
            console.print(_table(batch, lengths, measured))
    for name, reason in comparison.left_out.items():
        console.print(
            f"[yellow]not measured[/] {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True
        )


def _table(batch: str, lengths: list[int], measured: list[Measured]) -> Table:
    ordered = sorted(measured, key=lambda one: one.milliseconds.median)
    with_models = len({one.model for one in measured}) > 1
    title = f"{batch}: {len(lengths)} text(s), {sum(lengths)} tokens"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in (*(["model"] if with_models else []), "engine"):
        table.add_column(heading, overflow="fold")
    for heading in ("ms", "spread", "x fastest", "cosine"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in ordered:
        time = one.milliseconds
        agreement = "-" if one.cosine is None else f"{one.cosine:.5f}"
        table.add_row(
            *([escape(one.model)] if with_models else []),
            escape(one.engine),
            f"{time.median:.3f}" if time.median < 1 else f"{time.median:.2f}",
            f"{100 * time.relative:.0f} %",
            f"{one.times(ordered[0]):.2f}",
            agreement,
            style="bold" if one is ordered[0] else "",
        )
    return table
