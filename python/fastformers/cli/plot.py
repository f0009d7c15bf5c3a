# SPDX-License-Identifier: MIT
"""``fastformers plot``: pictures of saved ladders and grids."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["plot"]


def plot(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="FILE.json",
            help="A saved ladder or search, or a grid of sizes.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help=".png or .svg; else FILE.png beside FILE.json."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="ladder|tradeoff",
            help="ladder: bars of the speed-up. tradeoff: score against speed. Else what the file holds.",
        ),
    ] = None,
) -> None:
    """Draw FILE.json as a picture for a talk."""
    from fastformers.benchmarking.plots.picture import draw
    from fastformers.files.strict_json import read_json

    target = file.with_suffix(".png") if output is None else output
    draw(read_json(file), target, kind)
    typer.echo(f"Saved in {target}")
