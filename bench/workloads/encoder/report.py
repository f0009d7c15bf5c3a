# SPDX-License-Identifier: MIT
"""Turns the readings of ``bench.workloads.encoder.run`` into the tables of ``bench/workloads/encoder/README.md``.

``python -m bench.workloads.encoder.report encoder.json`` prints them; ``--write bench/workloads/encoder/README.md``
puts them between that file's two marker lines. Numbers reach the README in no other way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench.harness.markdown import (
    MISSED,
    geometric_mean,
    marked,
    preamble,
    report_main,
    table,
    tally,
    wins,
)
from bench.workloads.encoder import results
from bench.workloads.encoder.cells import BATCHES
from bench.workloads.encoder.results import Cell
from fastformers.benchmarking.engines import OURS
from fastformers.counted import counted
from fastformers.measuring import Spread

BEGIN, END = "<!-- encoder tables: begin -->", "<!-- encoder tables: end -->"
NO_FIGURE = float("-inf")
_BEST = "Best other engine"


def describe_cell(cell: Cell) -> str:
    """Tells one cell in one line, for the terminal."""
    place = (
        f"{counted(cell['threads'], 'thread'):<9} {cell['model']:<15} {cell['rows']:<5} {cell['batch']:<6}"
    )
    words = [place]
    if OURS.name in cell["readings"]:
        words.append(f"{results.milliseconds(cell, OURS.name).median:8.3f} ms")
        words.append(f"{results.percent_of_limit(cell).median:5.1f} % of the limit")
    peer = results.best_peer(cell)
    if peer is not None:
        words.append(f"{results.ratio_to(cell, peer).median:5.2f}x {peer}")
    if cell["cosine"]:
        words.append(f"worst cosine {min(cell['cosine'].values()):.5f}")
    return "  ".join([*words, *cell["errors"].values()])


def by_model(cells: Sequence[Cell], entry: Callable[[Cell], str]) -> str:
    """Writes one row per model and one column per batch; a cell that was not measured stays empty."""
    batches = [batch for batch in BATCHES if any(cell["batch"] == batch for cell in cells)]
    models = list(dict.fromkeys(cell["model"] for cell in cells))
    found = {(cell["model"], cell["batch"]): entry(cell) for cell in cells}
    lines = [[model, *(found.get((model, batch), "") for batch in batches)] for model in models]
    return table(["model", *batches], lines)


def ratio_section(cells: Sequence[Cell], threads: int) -> str:
    """How many times faster we are than the best other engine of each cell."""
    best = {id(cell): peer for cell in cells if (peer := results.best_peer(cell)) is not None}
    compared = [cell for cell in cells if id(cell) in best]
    if not compared:
        return ""
    ratios = {id(cell): results.ratio_to(cell, best[id(cell)]) for cell in compared}
    mean = geometric_mean([ratio.median for ratio in ratios.values()])
    note = "" if mean >= results.MEAN_RATIO_TO_REACH else f" {MISSED}"
    return "\n\n".join([
        f"### Times faster than the best other engine of each cell, {counted(threads, 'thread')}",
        "Median over the rounds of the ratio inside a round; static INT8, which needs calibration, included.",
        by_model(compared, lambda cell: marked(ratios[id(cell)], results.ratio_to_reach(cell), 2)),
        tally([(ratios[id(cell)], results.ratio_to_reach(cell)) for cell in compared], "ratio"),
        f"Geometric mean: **{mean:.2f}**{note} (to reach: {results.MEAN_RATIO_TO_REACH}). "
        f"{wins(_BEST, list(best.values()))}",
    ])  # fmt: skip


def dynamic_section(cells: Sequence[Cell], threads: int) -> str:
    """How many times faster we are than the best engine that, like ours, needs no calibration."""
    best = {
        id(cell): peer for cell in cells if (peer := results.best_peer(cell, results.DYNAMIC)) is not None
    }
    compared = [cell for cell in cells if id(cell) in best]
    if not compared:
        return ""
    ratios = {id(cell): results.ratio_to(cell, best[id(cell)]) for cell in compared}
    to_reach = results.DYNAMIC_RATIO_TO_REACH
    return "\n\n".join([
        f"### Times faster than the best dynamic-INT8 engine of each cell, {counted(threads, 'thread')}",
        by_model(compared, lambda cell: marked(ratios[id(cell)], to_reach, 2)),
        tally([(ratio, to_reach) for ratio in ratios.values()], "ratio"),
        wins(_BEST, list(best.values())),
    ])  # fmt: skip


def limit_section(cells: Sequence[Cell], threads: int, rows: str) -> str:
    """Percentage of the limit of each cell."""
    ours = [cell for cell in cells if OURS.name in cell["readings"]]
    if not ours:
        return ""
    reading = {"first": "head on the first token", "all": "all rows read"}[rows]
    judged = [
        (results.percent_of_limit(cell), figure)
        for cell in ours
        if (figure := results.percent_to_reach(cell)) is not None
    ]
    return "\n\n".join([
        f"### Percentage of this machine's limit, {reading}, {counted(threads, 'thread')}",
        f"Ceilings measured beside each block: {middle_ceiling(ours, 'ceiling_gops')} GOP/s INT8, "
        f"{middle_ceiling(ours, 'ceiling_gflops')} GFLOP/s float32.",
        by_model(ours, limit_entry),
        *([tally(judged, "percentage")] if judged else []),
    ])  # fmt: skip


def limit_entry(cell: Cell) -> str:
    """Writes a percentage of the limit, marked where a figure is missed."""
    figure = results.percent_to_reach(cell)
    return marked(results.percent_of_limit(cell), NO_FIGURE if figure is None else figure, 1)


def middle_ceiling(cells: Sequence[Cell], name: str) -> str:
    """Writes the middle ceiling of the cells."""
    return f"{sorted(results.ceiling(cell, name) for cell in cells)[len(cells) // 2]:.0f}"


def times_section(cells: Sequence[Cell], threads: int) -> str:
    """Milliseconds of every contestant, one table per model, the fastest of each batch bold."""
    parts = [
        f"### Milliseconds, {counted(threads, 'thread')}",
        "Median, and interquartile range in percent of it.",
    ]
    for model in dict.fromkeys(cell["model"] for cell in cells):
        parts.append(f"**{model}**")
        parts.append(times_table([cell for cell in cells if cell["model"] == model]))
    return "\n\n".join(parts)


def times_table(cells: Sequence[Cell]) -> str:
    """Writes one row per contestant and one column per batch."""
    names = list(dict.fromkeys(name for cell in cells for name in cell["readings"]))
    columns = {}
    for cell in cells:
        values = {name: results.milliseconds(cell, name) for name in cell["readings"]}
        fastest = min(values, key=lambda name: values[name].median, default="")
        columns[cell["batch"]] = {
            name: time_entry(value, bold=name == fastest) for name, value in values.items()
        }
    lines = [
        [name, results.kind_of(name), *(column.get(name, "") for column in columns.values())]
        for name in names
    ]
    return table(["engine", "numbers", *columns], lines)


def time_entry(value: Spread, *, bold: bool) -> str:
    """Writes a time with three significant digits and its spread."""
    digits = 3 if value.median < 1 else 2 if value.median < 10 else 1
    mark = "**" if bold else ""
    return f"{mark}{value.median:.{digits}f}{mark} ({100 * value.relative:.0f})"


def fidelity_section(cells: Sequence[Cell]) -> str:
    """Lowest cosine of the logits with torch float32, per contestant and model."""
    models = list(dict.fromkeys(cell["model"] for cell in cells))
    names = list(dict.fromkeys(name for cell in cells for name in cell["cosine"]))
    lines = []
    for name in names:
        entries = []
        for model in models:
            found = [
                cell["cosine"][name] for cell in cells if cell["model"] == model and name in cell["cosine"]
            ]
            entries.append(cosine_entry(name, model, min(found)) if found else "")
        lines.append([name, results.kind_of(name), *entries])
    return "\n\n".join([
        "### Fidelity: lowest cosine of a cell's logits with torch float32, all thread counts",
        "Random weights, 8 labels: a check that the answers are right, not a measure of accuracy on a task.",
        table(["engine", "numbers", *models], lines),
    ])  # fmt: skip


def cosine_entry(name: str, model: str, value: float) -> str:
    """Writes a cosine, marked where ours misses its figure."""
    missed = name == OURS.name and model == results.COSINE_MODEL and value < results.COSINE_TO_REACH
    return f"{value:.5f} {MISSED}{results.COSINE_TO_REACH}" if missed else f"{value:.5f}"


def report(document: Cell) -> str:
    """Writes all sections for which the document has readings."""
    sections = [preamble(document)]
    cells = document["cells"]
    for threads in sorted({cell["threads"] for cell in cells}):
        first = [cell for cell in cells if cell["threads"] == threads and cell["rows"] == "first"]
        every = [cell for cell in cells if cell["threads"] == threads and cell["rows"] == "all"]
        sections += [
            ratio_section(first, threads),
            dynamic_section(first, threads),
            limit_section(first, threads, "first"),
            limit_section(every, threads, "all"),
            times_section(first, threads) if first else "",
        ]
    sections.append(fidelity_section(cells) if cells else "")
    return "\n\n".join(section for section in sections if section) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report or writes it into a file; returns the exit code."""
    return report_main(
        arguments,
        prog="python -m bench.workloads.encoder.report",
        description=__doc__.splitlines()[0],
        report=report,
        begin=BEGIN,
        end=END,
    )


if __name__ == "__main__":
    sys.exit(main())
