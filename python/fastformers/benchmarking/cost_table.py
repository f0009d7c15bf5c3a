# SPDX-License-Identifier: MIT
"""Shows costs and prices as tables on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastformers.benchmarking.price_table import price_table
from fastformers.benchmarking.saved_speeds import CostReport, CostRow

__all__ = ["show_costs", "show_prices"]

_JOULES_PER_KWH = 3.6e6
_LIST_PRICES = (
    "US dollars an hour, on demand, Linux, no disks, no traffic. Prices change: pass your own as a number."
)


def show_costs(console: Console, report: CostReport) -> None:
    """Prints a row for each speed, and below what the figures rest on."""
    table = Table(title="100 million queries", title_justify="left", header_style="bold")
    table.add_column("")
    for head in ("queries/s", "USD", "kWh"):
        table.add_column(head, justify="right")
    table.add_column("energy by")
    if report.carbon is not None:
        table.add_column("kg CO2", justify="right")
    for row in report.rows:
        table.add_row(*_cells(row)[: len(table.columns)])
    console.print(table)
    busy = f", the machine busy {100 * report.utilisation:g} % of the time it is paid for"
    console.print(f"At {escape(str(report.price))}{busy}.", highlight=False)
    if report.utilisation < 1 and any(row.speed.joules_per_100m is not None for row in report.rows):
        console.print(
            "kWh: of answering; what the machine draws while it waits is not in it.", highlight=False
        )
    if report.carbon is not None:
        console.print(f"CO2: {report.carbon}.", highlight=False)
    if any(row.speed.noisy for row in report.rows):
        console.print("~ measured on a machine that was not quiet: spread over 10 %.", highlight=False)
    if any(row.speed.extrapolated for row in report.rows):
        console.print("* measured on a random sample of the texts and extrapolated.", highlight=False)


def show_prices(console: Console) -> None:
    """Prints the price table with dates and sources."""
    sources = list(dict.fromkeys(row.source for row in price_table()))
    table = Table(header_style="bold")
    for head in ("name", "vCPUs", "USD/hour", "region", "date", "source"):
        figure = head in ("vCPUs", "USD/hour")
        table.add_column(head, justify="right" if figure else "left", no_wrap=head == "name")
    for row in price_table():
        source = str(sources.index(row.source) + 1)
        table.add_row(row.full_name, str(row.vcpus), f"{row.usd_per_hour:g}", row.region, row.date, source)
    console.print(table)
    for number, source in enumerate(sources, 1):
        console.print(f"{number}: {source}.", highlight=False)
    console.print(_LIST_PRICES, highlight=False)


def _cells(row: CostRow) -> tuple[str, ...]:
    speed = row.speed
    marks = " ~" * speed.noisy + " *" * speed.extrapolated
    joules = speed.joules_per_100m
    return (
        escape(f"{speed.name}{marks}"),
        _figure(speed.queries_per_second),
        _figure(row.usd_per_100m),
        "" if joules is None else _figure(joules / _JOULES_PER_KWH),
        escape(speed.energy_method),
        "" if row.kg_co2_per_100m is None else _figure(row.kg_co2_per_100m),
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
