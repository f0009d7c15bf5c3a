# SPDX-License-Identifier: MIT
"""Options that several verbs have, in the same words."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["EnergyMethod", "Overwrite", "PriceOfMachine", "Utilisation"]

Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace a model saved in OUT.")]
PriceOfMachine: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME|USD", help="Of the machine (`cost --list`), or US dollars an hour."),
]
Utilisation: TypeAlias = Annotated[float, typer.Option(help="Share of the paid time that is used.")]
EnergyMethod: TypeAlias = Annotated[
    str, typer.Option(metavar="METHOD", help="auto, rapl, nvml, estimate:tdp or off.")
]
