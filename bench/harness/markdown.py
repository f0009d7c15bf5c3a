# SPDX-License-Identifier: MIT
"""Markdown that reports share: tables, marks at missed figures, the machine's line, text between marker lines."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastformers.benchmarking.wording import processor
from fastformers.counted import counted
from fastformers.measuring import Spread

MISSED = "\u2717"  # ballot x, said in words under each table


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Writes a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def marked(value: Spread, to_reach: float, digits: int) -> str:
    """Writes a median, with a mark and the figure to reach where it is missed."""
    text = f"{value.median:.{digits}f}"
    return text if value.median >= to_reach else f"{text} {MISSED}{to_reach:g}"


def tally(values: Sequence[tuple[Spread, float]], unit: str) -> str:
    """Says how many cells reach their figure and how far the readings of a cell spread."""
    reached = sum(value.median >= to_reach for value, to_reach in values)
    worst = max(value.relative for value, _ in values)
    middle = sorted(value.relative for value, _ in values)[len(values) // 2]
    return (
        f"{reached} of {len(values)} cells reach their figure; {MISSED} marks a miss and names the {unit} to "
        f"reach. Interquartile range of a cell's rounds: {100 * middle:.1f} % of the median (middle cell), "
        f"{100 * worst:.1f} % (worst)."
    )


def wins(best: str, names: Sequence[str]) -> str:
    """Says in how many cells each name was the best one, the most frequent first.

    Args:
        best: what the names are, as the sentence begins.
        names: of the best one of each cell.
    """
    counts = sorted(((names.count(name), name) for name in set(names)), reverse=True)
    cells = [f"{name} in {counted(count, 'cell')}" for count, name in counts]
    return f"{best}: {', '.join(cells)}."


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def machine_line(machine: Mapping[str, Any]) -> str:
    """Names the processor, its caches and the versions that were measured."""
    cpu = machine["cpu"]
    caches = f"L2 {cpu['l2_bytes'] >> 10} KiB, L3 {cpu['l3_bytes'] >> 20} MiB"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    return (
        f"Machine: {processor(machine)}, {caches}, kernels {cpu['active_isa']}; "
        f"Python {machine['python']}, {packages}."
    )


def preamble(document: Mapping[str, Any]) -> str:
    """Says which machine, versions and command the tables are from, and who could not take part."""
    settings = document["settings"]
    failed = dict.fromkeys(error for cell in document["cells"] for error in cell["errors"].values())
    lines = [
        f"Made by `{document['command']}`.",
        machine_line(document["machine"]),
        f"{settings['rounds']} rounds per cell, blocks of {settings['block_ms']:g} ms.",
        *(f"Not measured: {name} ({remedy})." for name, remedy in document["missing"].items()),
        *(f"Failed: {error}." for error in failed),
    ]
    return "\n".join(lines)


def write_between_markers(path: Path, text: str, begin: str, end: str) -> None:
    """Replaces what stands between two marker lines of a file.

    Raises:
        SystemExit: the file lacks a marker, has one twice, or has them in the wrong order.
    """
    old = path.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise SystemExit(f"{path} needs the lines {begin} and {end}, each once and in this order")
    before, after = old.split(begin)[0], old.split(end)[1]
    path.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def report_main(
    arguments: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    report: Callable[[dict[str, Any]], str],
    begin: str,
    end: str,
) -> int:
    """Runs the command line of a report: prints it, or writes it between the markers of a file.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("json", type=Path, help="readings of the run")
    parser.add_argument("--write", type=Path, help=f"file with the lines {begin} and {end}")
    parsed = parser.parse_args(arguments)
    text = report(json.loads(parsed.json.read_text(encoding="utf-8")))
    if parsed.write is None:
        print(text)
    else:
        write_between_markers(parsed.write, text, begin, end)
    return 0
