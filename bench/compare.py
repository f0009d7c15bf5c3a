# SPDX-License-Identifier: MIT
"""Says what became slower between two benchmark files: ``python bench/compare.py old.json new.json``.

Reads the JSON of ``bench.kernels.run`` and of pytest-benchmark. A cell is slower when its median lost more
than the threshold (5 %) and the quartiles of the two files do not overlap, so that noise alone raises no
alarm. Where the file holds the machine's ceiling, speeds are taken relative to it: a slower machine is not a
slower kernel. Exit code 0: nothing slower; 3: something is; 2: the files cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers.measuring import Spread, spread

EXIT_SLOWER = 3
OURS = "fastformers"


@dataclass(frozen=True)
class Change:
    """One cell that both files have; both costs in the same unit, lower is better."""

    cell: str
    old: Spread
    new: Spread

    @property
    def factor(self) -> float:
        """New cost over old cost: 1.10 is 10 % slower."""
        return self.new.median / self.old.median

    def is_slower(self, threshold: float) -> bool:
        """Says whether the cost rose by more than ``threshold`` (0.05 = 5 %) and beyond both spreads."""
        return self.factor > 1 + threshold and self.new.low > self.old.high

    def is_faster(self, threshold: float) -> bool:
        """Says the same of a fall."""
        return 1 / self.factor > 1 + threshold and self.new.high < self.old.low


def costs_of_table(document: Mapping[str, Any]) -> dict[str, Spread]:
    """Costs of our readings in a file of ``bench.kernels.run``: seconds x ceiling."""
    costs = {}
    for cell in document["cells"]:
        place = f"{cell['N']} x {cell['K']} M={cell['M']} threads={cell['threads']}"
        for name, rounds in cell["readings"].items():
            if name.split("/")[0].startswith(OURS):
                ceilings = cell["readings"][f"{name.split('/')[0]}/kernel"]
                paired = zip(rounds, ceilings, strict=True)
                costs[f"{name} {place}"] = spread([r["seconds"] * c["ceiling_gops"] for r, c in paired])
    return costs


def costs_of_pytest(document: Mapping[str, Any]) -> dict[str, Spread]:
    """Costs in a file of pytest-benchmark: seconds, times the ceiling where the benchmark says it."""
    costs = {}
    for benchmark in document["benchmarks"]:
        stats, ceiling = benchmark["stats"], benchmark["extra_info"].get("ceiling_gops", 1.0)
        seconds = Spread(stats["median"], stats["q1"], stats["q3"], stats["rounds"])
        costs[benchmark["fullname"]] = seconds.scaled(ceiling)
    return costs


def read_costs(path: Path) -> dict[str, Spread]:
    """Reads either kind of file.

    Raises:
        ValueError: the file is of neither kind.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if "cells" in document:
        return costs_of_table(document)
    if "benchmarks" in document:
        return costs_of_pytest(document)
    raise ValueError(f"{path} is neither a file of bench.kernels.run nor of pytest-benchmark")


def describe(changes: Sequence[Change], threshold: float) -> str:
    """Tells the verdict, and each cell that changed, the worst first."""
    slower = sorted((c for c in changes if c.is_slower(threshold)), key=lambda c: -c.factor)
    faster = sorted((c for c in changes if c.is_faster(threshold)), key=lambda c: c.factor)
    lines = [
        f"{len(changes)} cells compared: {len(slower)} slower, {len(faster)} faster "
        f"by more than {threshold:.0%}"
    ]
    lines += [f"  slower {c.factor - 1:7.1%}  {c.cell}" for c in slower]
    lines += [f"  faster {1 / c.factor - 1:7.1%}  {c.cell}" for c in faster]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares two files, prints the verdict and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python bench/compare.py", description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--threshold", type=float, default=5.0, help="percent of the median that counts (default 5)"
    )
    parsed = parser.parse_args(arguments)
    try:
        old, new = read_costs(parsed.old), read_costs(parsed.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    shared = [cell for cell in old if cell in new]
    if not shared:
        parser.error("the two files have no cell in common")
    changes = [Change(cell, old[cell], new[cell]) for cell in shared]
    print(describe(changes, parsed.threshold / 100))
    for title, cells in (("only in old", old.keys() - new.keys()), ("only in new", new.keys() - old.keys())):
        if cells:
            print(f"{title}: {len(cells)} cells, e.g. {min(cells)}")
    return EXIT_SLOWER if any(change.is_slower(parsed.threshold / 100) for change in changes) else 0


if __name__ == "__main__":
    sys.exit(main())
