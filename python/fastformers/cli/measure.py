# SPDX-License-Identifier: MIT
"""``fastformers measure``: speed, latency, cost, energy and memory of a compiled model, and where its time goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastformers.cli.options import (
    CompiledFolder,
    EnergyMethod,
    JsonText,
    PriceOfMachine,
    SaveJson,
    Utilisation,
)
from fastformers.cli.texts import read_marked_texts, text_file_option

__all__ = ["measure"]


def measure(
    folder: CompiledFolder,
    texts: Annotated[Path, text_file_option("Texts to answer")],
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Also say where the time goes: per layer and operation, percent of the machine's limit.",
        ),
    ] = False,
    price: PriceOfMachine = None,
    utilisation: Utilisation = 1.0,
    batch_size: Annotated[int, typer.Option(help="Texts of a request.")] = 1,
    instances: Annotated[int | None, typer.Option(min=1, help="Instances; else as tuned.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of an instance; else as tuned.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds, at least 3.")] = 5,
    seconds: Annotated[float, typer.Option(help="That the rounds may take together, about.")] = 10.0,
    energy: EnergyMethod = "auto",
    json_path: SaveJson = None,
    as_json: JsonText = False,
) -> None:
    """Measure how fast the model in DIR answers, what that costs, and with --profile where the time goes."""
    from fastformers.benchmarking.cores import check_cores
    from fastformers.benchmarking.measure import measure as measure_run
    from fastformers.runtime.engine import Engine

    examples = read_marked_texts(texts)
    check_cores("instances x threads", (instances or 1) * (threads or 1))
    with Engine.from_pretrained(folder, instances=instances or "auto", threads=threads or "auto") as engine:
        found = measure_run(
            engine,
            examples,
            price=price,
            utilisation=utilisation,
            rounds=rounds,
            seconds=seconds,
            batch_size=batch_size,
            energy=energy,
            profile=profile,
        )
    document = json.dumps(found.to_dict(), indent=2)
    typer.echo(document if as_json else str(found))
    if json_path is not None:
        json_path.write_text(document + "\n", encoding="utf-8")
