# SPDX-License-Identifier: MIT
"""``fastformers cost``: what saved speeds cost on a machine that is paid by the hour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastformers.cli.options import JsonText
from fastformers.errors import ConfigError

__all__ = ["cost"]


def cost(
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="FILE.json",
            help="A saved measurement, ladder, table of instances or demo.",
        ),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|USD", help="Machine (see --list) or US dollars an hour; else the file's own."
        ),
    ] = None,
    utilisation: Annotated[
        float | None,
        typer.Option(help="Share of the paid time in which queries are answered; else the file's own, or 1."),
    ] = None,
    country: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="CO2 of this country's electricity too, e.g. DEU; needs extra energy."
        ),
    ] = None,
    list_prices: Annotated[bool, typer.Option("--list", help="Print the price table instead.")] = False,
    as_json: JsonText = False,
) -> None:
    """Print US dollars and energy of 100 million queries for every speed in FILE.json."""
    from rich.console import Console

    from fastformers.benchmarking.cost_table import show_costs, show_prices
    from fastformers.benchmarking.energy import carbon_intensity
    from fastformers.benchmarking.price_table import price_of, price_table
    from fastformers.benchmarking.saved_speeds import cost_report
    from fastformers.files.strict_json import read_json

    if list_prices:
        if as_json:
            typer.echo(json.dumps([row.to_dict() for row in price_table()], indent=2))
        else:
            show_prices(Console())
        return
    if file is None:
        raise ConfigError("cost needs a FILE.json, or --list for the price table")
    paid = None if price is None else price_of(price)
    carbon = None if country is None else carbon_intensity(country)
    report = cost_report(read_json(file), paid, utilisation, carbon)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        show_costs(Console(), report)
