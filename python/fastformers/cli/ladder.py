# SPDX-License-Identifier: MIT
"""``fastformers ladder``: what each technique adds, measured on this machine, as a table, a picture and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ladder"]


def ladder(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", file_okay=False, help="Folder to write into.")
    ],
    recipe: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Output folder of 'recipe run'; with --data.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The recipe's data.")] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="table3", help="The paper's shapes, random weights; with --texts.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="BoolQ's val.jsonl, other .jsonl, or a text a line.")
    ] = None,
    instances: Annotated[
        int | None, typer.Option(help="Of the rows under load; one on each core without.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=2, help="Texts to draw at random; of the preset 40 without.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="NAME|USD", help="Machine (cost --list) or US dollars an hour.")
    ] = None,
    utilisation: Annotated[float, typer.Option(help="Share of the paid time with queries.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Measure padded PyTorch, dynamic length, student, INT8 engine, instances and prunings beside each other."""
    from fastformers.benchmarking.ladder.run import ladder as measure_ladder

    report = measure_ladder(
        output,
        recipe=recipe,
        data=data,
        preset=preset,
        texts=texts,
        instances=instances,
        sample=sample,
        price=price,
        utilisation=utilisation,
        tell=None if as_json else typer.echo,
    )
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else f"{report}\n\nSaved in {output}")
