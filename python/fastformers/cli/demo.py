# SPDX-License-Identifier: MIT
"""``fastformers demo``: from a fine-tuned encoder to a pruned INT8 engine, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastformers.cli.options import in_a_folder

__all__ = ["demo"]


def demo(
    json_path: Annotated[
        Path,
        typer.Option("--json", dir_okay=False, callback=in_a_folder, help="Where to save every number."),
    ] = Path("fastformers-demo.json"),
    picture_path: Annotated[
        Path,
        typer.Option("--picture", dir_okay=False, callback=in_a_folder, help="Where to save the picture."),
    ] = Path("fastformers-demo.png"),
    folder: Annotated[
        Path,
        typer.Option("--folder", file_okay=False, help="Where the models go; a second run finds them there."),
    ] = Path("fastformers-demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer texts and rounds: a smoke test.")] = False,
) -> None:
    """Train a classifier, then distill, compile and prune it: speed and right answers of each rung, on this machine."""
    from fastformers.benchmarking.demo import run_demo

    run_demo(folder=folder, json_path=json_path, picture_path=picture_path, quick=quick)
