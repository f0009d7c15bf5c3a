# SPDX-License-Identifier: MIT
"""``fastformers tune``: tries instances x threads on texts like yours and keeps the best beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastformers.cli.options import CompiledFolder, JsonTable
from fastformers.cli.texts import read_marked_texts, text_file_option
from fastformers.counted import counted

if TYPE_CHECKING:
    from fastformers.benchmarking.tune import Row
    from fastformers.runtime.tuning import Arrangement, Tuning

__all__ = ["tune"]


def tune(
    folder: CompiledFolder,
    data: Annotated[Path, text_file_option("Texts like yours")],
    rounds: Annotated[int, typer.Option(min=1, help="Readings of each arrangement.")] = 5,
    most_texts: Annotated[int, typer.Option(min=1, help="Use at most this many of the texts.")] = 200,
    processes: Annotated[
        bool, typer.Option("--processes", help="Measure a process for each instance, too, for comparison.")
    ] = False,
    as_json: JsonTable = False,
) -> None:
    """Measure arrangements of instances and threads for the model in DIR; Engine uses the best from then on."""
    from fastformers import kernels
    from fastformers.benchmarking.tune import (
        FolderEngines,
        arrangements_to_try,
        measure_arrangements,
        tuning_of,
    )
    from fastformers.runtime.tuning import write_tuning

    examples = read_marked_texts(data)
    rows = measure_arrangements(
        FolderEngines(folder),
        examples[:most_texts],
        arrangements_to_try(kernels.default_threads()),
        rounds=rounds,
        modes=("threads", "processes") if processes else ("threads",),
    )
    tuning = tuning_of(rows)
    if not as_json:
        _print_table(rows, tuning)  # first: a folder that cannot be written to must not cost the readings
    path = write_tuning(folder, tuning)
    if as_json:
        typer.echo(json.dumps({"rows": [row.to_dict() for row in rows], "file": str(path)}, indent=2))
    else:
        typer.echo(f"Saved in {path}")


def _print_table(rows: list[Row], tuning: Tuning) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("mode", "instances", "threads", "batch", "texts/s", "p50 ms", "p99 ms", "MiB"):
        table.add_column(heading, justify="left" if heading == "mode" else "right", no_wrap=True)
    for row in rows:
        made = row.arrangement
        table.add_row(
            row.mode, str(made.instances), str(made.threads), str(made.batch_tokens),
            f"{row.texts_per_second:,.1f}{' ~' if row.noisy else ''}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}",
            f"{row.memory_bytes / 2**20:,.1f}",
        )  # fmt: skip
    Console().print(table)
    if any(row.noisy for row in rows):
        typer.echo(
            "~ The rounds spread over 10 %, taken twice: the machine was not quiet; tune again when it is."
        )
    typer.echo(f"Most texts a second: {_in_words(tuning.throughput)}")
    typer.echo(f"Lowest latency: {_in_words(tuning.latency)}")


def _in_words(made: Arrangement) -> str:
    instances, threads = counted(made.instances, "instance"), counted(made.threads, "thread")
    return f"{instances} of {threads}, batches of {made.batch_tokens} tokens"
