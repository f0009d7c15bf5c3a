# SPDX-License-Identifier: MIT
"""Turns the readings of ``bench.kernels.run`` into the tables of ``bench/README.md``.

``python -m bench.kernels.report kernels.json`` prints them; ``--write bench/README.md`` puts them between
that file's two marker lines. Numbers reach the README in no other way.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

from bench.harness.markdown import geometric_mean, marked, preamble, report_main, table, tally, wins
from bench.kernels import results
from bench.kernels.results import Cell
from bench.whole.regions import begin_line, end_line
from fastformers.counted import counted
from fastformers.measuring import Spread

BEGIN, END = begin_line("kernels"), end_line("kernels")


def describe_cell(cell: Cell) -> str:
    """Tells one cell in one line, for the terminal."""
    words = [f"{counted(cell['threads'], 'thread'):<9}  {cell['N']:>4} x {cell['K']:<4} M={cell['M']:<3}"]
    if f"{results.OURS}/kernel" in cell["readings"]:
        share, ceiling = results.percent_of_ceiling(cell), results.ceiling_gops(cell)
        words.append(f"{share.median:5.1f} % of {ceiling.median:.0f} GOP/s")
    peer = results.best_peer(cell)
    if peer is not None and results.OURS in cell["readings"]:
        words.append(f"{results.ratio_to(cell, peer).median:5.2f}x {peer}")
    words.append(f"worst cosine {min(cell['cosine'].values(), default=math.nan):.5f}")
    return "  ".join([*words, *cell["errors"].values()])


def by_shape(cells: Sequence[Cell], entry: Callable[[Cell], str]) -> str:
    """Writes one row per shape and one column per M; a cell that was not measured stays empty."""
    rows_of_x = sorted({cell["M"] for cell in cells})
    shapes = list(dict.fromkeys((cell["group"], cell["N"], cell["K"]) for cell in cells))
    found = {(cell["N"], cell["K"], cell["M"]): entry(cell) for cell in cells}
    lines = [
        [group, f"{columns} x {depth}", *(found.get((columns, depth, rows), "") for rows in rows_of_x)]
        for group, columns, depth in shapes
    ]
    return table(["group", "N x K", *(f"M={rows}" for rows in rows_of_x)], lines)


def ceiling_section(cells: Sequence[Cell]) -> str:
    """Percentage of the measured ceiling per shape and M, one thread."""
    values = [(results.percent_of_ceiling(cell), results.percent_to_reach(cell)) for cell in cells]
    ceilings = sorted(results.ceiling_gops(cell).median for cell in cells)

    def entry(cell: Cell) -> str:
        return marked(results.percent_of_ceiling(cell), results.percent_to_reach(cell), 1)

    return "\n\n".join([
        "### Percentage of this machine's ceiling, 1 thread",
        "Loop inside the core, float in and float out, quantization, bias and ReLU included. Ceiling "
        f"measured beside each block: {ceilings[len(ceilings) // 2]:.0f} GOP/s ({ceilings[0]:.0f} to "
        f"{ceilings[-1]:.0f} over the run).",
        by_shape(cells, entry),
        tally(values, "percentage"),
    ])  # fmt: skip


def ratio_section(cells: Sequence[Cell], threads: int) -> str:
    """How many times faster the call from Python is than the best contestant of each cell."""
    best = [(cell, results.best_peer(cell)) for cell in cells]
    ratios = {id(cell): results.ratio_to(cell, peer) for cell, peer in best if peer is not None}
    compared = [cell for cell in cells if id(cell) in ratios]
    mean = geometric_mean([ratio.median for ratio in ratios.values()])
    limit = 1 - results.NOISE
    return "\n\n".join([
        f"### Times faster than the best contestant of each cell, {counted(threads, 'thread')}",
        "Calls from Python on both sides, median over the rounds of the ratio inside a round.",
        by_shape(compared, lambda cell: marked(ratios[id(cell)], limit, 2)),
        tally([(ratio, limit) for ratio in ratios.values()], "ratio"),
        f"Geometric mean over the table: **{mean:.2f}** (to reach: {results.MEAN_RATIO_TO_REACH}). "
        f"{wins('Best contestant', [peer for _, peer in best if peer is not None])}",
    ])  # fmt: skip


def contestant_section(cells: Sequence[Cell], threads: int) -> str:
    """Every contestant's speed, averaged over the shapes, and its worst cosine with float32."""
    rows_of_x = sorted({cell["M"] for cell in cells})
    names = list(dict.fromkeys(name for cell in cells for name in [results.OURS, *results.peers(cell)]))
    lines = []
    for name in names:
        entered = [cell for cell in cells if name in cell["readings"]]
        shares = [average_share([cell for cell in entered if cell["M"] == rows], name) for rows in rows_of_x]
        lines.append([name, *shares, f"{min(cell['cosine'][name] for cell in entered):.5f}"])
    return "\n\n".join([
        f"### Every contestant: percentage of the ceiling, mean over the shapes, {counted(threads, 'thread')}",
        "Calls from Python. The last column is the lowest cosine of a cell's output with float32.",
        table(["contestant", *(f"M={rows}" for rows in rows_of_x), "cosine"], lines),
    ])  # fmt: skip


def average_share(cells: Sequence[Cell], name: str) -> str:
    """Mean over cells of a contestant's percentage of the ceiling, the call from Python."""
    shares = [
        100 * results.operations(cell) / entry["seconds"] / 1e9 / results.ceiling_gops(cell).median
        for cell in cells
        for entry in cell["readings"][name]
    ]
    return f"{sum(shares) / len(shares):.1f}" if shares else ""


def scaling_section(cells: Sequence[Cell], threads: int) -> str:
    """Speed of several threads over one, base shapes with at least 128 rows."""
    values = {
        id(cell): results.scaling(cell) for cell in cells if cell["group"] == "base" and cell["M"] >= 128
    }
    measured = [(cell, value) for cell in cells if (value := values.get(id(cell))) is not None]
    if not measured:
        return ""
    to_reach = results.SCALING_TO_REACH * threads / 2
    found = {id(cell): value for cell, value in measured}
    return "\n\n".join([
        f"### {threads} threads over 1, loop inside the core",
        by_shape([cell for cell, _ in measured], lambda cell: marked(found[id(cell)], to_reach, 2)),
        tally([(value, to_reach) for _, value in measured], "factor"),
    ])  # fmt: skip


def one_row_section(cells: Sequence[Cell]) -> str:
    """One row: percentage of the ceiling and of the bandwidth at which the weights can be read."""
    lines, values = [], []
    for cell in cells:
        bandwidth = results.percent_of_bandwidth(cell) if cell["M"] == 1 else None
        if bandwidth is None:
            continue
        values.append((bandwidth, results.ONE_ROW_BANDWIDTH_TO_REACH))
        share = results.percent_of_ceiling(cell)
        lines.append([
            cell["group"], f"{cell['N']} x {cell['K']}", f"{cell['N'] * cell['K'] / 1024:.0f} KiB",
            marked(share, results.ONE_ROW_PERCENT_TO_REACH, 1),
            marked(bandwidth, results.ONE_ROW_BANDWIDTH_TO_REACH, 1),
        ])  # fmt: skip
    if not lines:
        return ""
    return "\n\n".join([
        "### One row (M = 1), 1 thread",
        "Bandwidth: a sequential read loop over as many bytes as the packed weights have, measured beside "
        "each block.",
        table(["group", "N x K", "weights", "% of the ceiling", "% of the read bandwidth"], lines),
        tally(values, "percentage"),
    ])  # fmt: skip


def avx2_section(cells: Sequence[Cell]) -> str:
    """Without VNNI: our AVX2 path against torch float32 that may not use AVX-512 either."""
    compared = [
        cell for cell in cells if {results.OURS_AVX2, results.CAPPED_PEER} <= cell["readings"].keys()
    ]  # fmt: skip
    if not compared:
        return ""
    to_reach = results.AVX2_RATIO_TO_REACH

    def ratio(cell: Cell) -> Spread:
        return results.ratio_to(cell, results.CAPPED_PEER, results.OURS_AVX2)

    return "\n\n".join([
        "### AVX2 forced: times faster than torch float32 capped to AVX2, 1 thread",
        by_shape(compared, lambda cell: marked(ratio(cell), to_reach, 2)),
        tally([(ratio(cell), to_reach) for cell in compared], "ratio"),
    ])  # fmt: skip


def report(document: Cell) -> str:
    """Writes all sections for which the document has readings."""
    sections = [preamble(document)]
    for threads in sorted({cell["threads"] for cell in document["cells"]}):
        cells = [cell for cell in document["cells"] if cell["threads"] == threads]
        ours = [cell for cell in cells if f"{results.OURS}/kernel" in cell["readings"]]
        if ours and threads == 1:
            sections += [ceiling_section(ours), one_row_section(ours)]
        elif ours:
            sections.append(scaling_section(ours, threads))
        if any(results.peers(cell) for cell in ours):
            sections += [ratio_section(ours, threads), contestant_section(ours, threads)]
        sections.append(avx2_section(cells))
    return "\n\n".join(section for section in sections if section) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report or writes it into a file; returns the exit code."""
    return report_main(
        arguments,
        prog="python -m bench.kernels.report",
        description=__doc__.splitlines()[0],
        report=report,
        begin=BEGIN,
        end=END,
    )


if __name__ == "__main__":
    sys.exit(main())
