# SPDX-License-Identifier: MIT
"""What the demo prints: first what is compared; at its end the table, its meaning and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastformers.benchmarking.demo_report import DemoReport, Row

__all__ = ["announce", "show"]

_HEADING_WIDTH = 10
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
_WITH_WAITING = "*"
_SAME_COSINE = 0.9999


def announce(console: Console, model: str, ways: Sequence[tuple[str, str]]) -> None:
    """Says what will be compared.

    Args:
        console: where to print.
        model: name of the encoder.
        ways: name and meaning of each column of the table to come.
    """
    console.print(
        f"[bold]{escape(model)}[/], a pretrained BERT-type sentence encoder, turns each text into a vector. "
        f"It runs in {_NUMBERS.get(len(ways), len(ways))} ways on this CPU, one text at a time, as a service would "
        "receive them:",
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
        f"Texts: {_how_many(texts)}, {texts['shortest']} to {texts['longest']} tokens "
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
        "[bold]fastformers quantize[/] does the same to a model of yours; [bold]fastformers doctor[/] says "
        "what this machine offers; --help explains both.",
    )
    console.print(listing)


def _how_many(texts: dict[str, int]) -> str:
    if texts["measured"] == texts["bundled"]:
        return f"{texts['bundled']}"
    return f"{texts['measured']} of {texts['bundled']}, as many as fit in the time"


def _table(report: DemoReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for number, row in enumerate(report.rows, start=1):
        heading = f"{number}\n{fill(row.name, _HEADING_WIDTH, break_long_words=False)}"
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for title, cells in _lines(report.rows):
        table.add_row(title, *cells)
    return table


def _lines(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    return [
        ("median time of a text", [_time(row, row.latency_ms.median) for row in rows]),
        ("99 % of texts below", [_time(row, row.p99_ms) for row in rows]),
        ("texts per second", [f"{row.queries_per_second.median:.1f}" for row in rows]),
        ("times faster, this step", ["", *(f"{row.step_speedup.median:.1f}x" for row in rows[1:])]),
        (
            "[bold]times faster, total[/]",
            ["", *(f"[bold]{r.total_speedup.median:.1f}x[/]" for r in rows[1:])],
        ),
        ("weights, whole model", [f"{row.model_mb:.1f} MB" for row in rows]),
        ("weights, linear layers", [f"{row.linear_mb:.1f} MB" for row in rows]),
        ("cosine to float32, mean", [f"{row.cosine_mean:.4f}" for row in rows]),
        ("cosine, worst text", [f"{row.cosine_worst:.4f}" for row in rows]),
        ("same nearest neighbour", [f"{100 * row.same_neighbour:.1f} %" for row in rows]),
    ]


def _time(row: Row, milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms{_WITH_WAITING if row.under_load else ''}"


def _meaning(report: DemoReport) -> list[tuple[str, str]]:
    first, plain, quantized, engine, many = report.rows
    single, loaded = engine.total_speedup, many.total_speedup
    meaning = [
        (
            _WITH_WAITING,
            "under load: all texts are handed in at once, and a text's time includes its waiting in the queue. The "
            "column is about texts per second.",
        ),
        (
            "Speed",
            f"one text at a time, the engine answers {single.median:.1f} times as many texts as with padding (half "
            f"of the rounds: {single.low:.1f} to {single.high:.1f} times) and {engine.float_speedup.median:.1f} times "
            f"as many as plain float32. Under load {escape(many.name)} answer {loaded.median:.1f} times as many as "
            "padded float32 does one at a time.",
        ),
        (
            "Answers",
            f"a cosine of 1 means the same vector; INT8 layers come to {quantized.cosine_mean:.4f} on average, the "
            f"engine to {engine.cosine_mean:.4f}. For {100 * engine.same_neighbour:.1f} % of the texts the most "
            f"similar other text is still the same{_loss(engine)}.",
        ),
        (
            "Memory",
            f"{report.int8_layers} of {report.linear_layers} linear layers are INT8 in column 3, "
            f"{report.engine_int8_layers} in the engine; together the linear layers shrink "
            f"{plain.linear_mb / quantized.linear_mb:.1f} and {plain.linear_mb / engine.linear_mb:.1f} times (the "
            "engine's with the padding of its blocks, once for all instances). Most of the rest are word embeddings, "
            f"which stay float32. Quantizing took {report.quantizing_seconds:.0f} s, compiling "
            f"{report.compiling_seconds:.0f} s, once.",
        ),
    ]
    if first.cosine_worst < _SAME_COSINE:
        meaning.append(("[red]Warning[/]", "padding changed the answers of columns 1 and 2; it should not."))
    return meaning


def _loss(row: Row) -> str:
    if row.neighbour_loss <= 0:
        return ""
    return f"; the others choose one whose float32 cosine is at most {row.neighbour_loss:.4f} lower"
