# SPDX-License-Identifier: MIT
"""Options that several verbs have, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["EnergyMethod", "Overwrite", "PriceOfMachine", "SaveJson", "Utilisation"]


def _in_a_folder(path: Path | None) -> Path | None:
    """Refuses a file without a folder before anything is measured, and not when that is to be saved."""
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path.absolute().parent} is not a folder: make it first")
    return path


Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace a model saved in OUT.")]
PriceOfMachine: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME|USD", help="Of the machine (`cost --list`), or US dollars an hour."),
]
Utilisation: TypeAlias = Annotated[float, typer.Option(help="Share of the paid time that is used.")]
EnergyMethod: TypeAlias = Annotated[
    str, typer.Option(metavar="METHOD", help="auto, rapl, nvml, estimate:tdp or off.")
]
SaveJson: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--save", dir_okay=False, metavar="FILE", callback=_in_a_folder, help="Save the numbers as JSON."
    ),
]
