# SPDX-License-Identifier: MIT
"""``fastformers demo``: a real pretrained encoder before and after, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    json_path: Annotated[
        Path, typer.Option("--json", dir_okay=False, help="Where to save every number.")
    ] = Path("fastformers-demo.json"),
    picture_path: Annotated[
        Path, typer.Option("--picture", dir_okay=False, help="Where to save the picture.")
    ] = Path("fastformers-demo.png"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer texts and rounds: a smoke test.")] = False,
) -> None:
    """Run a pretrained sentence encoder as float32, as INT8 and compiled, and show speed, memory and agreement."""
    from fastformers.benchmarking.demo import run_demo

    run_demo(json_path=json_path, picture_path=picture_path, quick=quick)
