# SPDX-License-Identifier: MIT
"""The JSON of a run as text: a table a section, what was not measured, and the figures to reach."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.harness.markdown import table

#: Issue and paper: fp16 over float32 out of the box at batch 256 (3.53 there), all steps together (12.4 there).
HALF_TO_REACH, ALL_TO_REACH = 3.5, 12.4

_HEADER = ("row", "of", "texts/s", "times as fast", "MB", "padding", "largest difference", "answers changed")


def summary(document: Mapping[str, Any]) -> str:
    """Returns the whole run as Markdown."""
    device = document["device"]
    lines = [
        f"{device.get('name', 'CPU')}, torch {document['machine']['packages']['torch']}, {document['date']}"
    ]
    if document["tiny"]:
        lines.append("Tiny sizes: these times mean nothing.")
    for name, section in document["sections"].items():
        lines += ["", f"## {name}", "", *_section(section)]
    return "\n".join([*lines, "", *_goals(document)])


def _section(section: Mapping[str, Any]) -> list[str]:
    rows, missing = section["rows"], [row for row in section["rows"] if "not_measured" in row]
    timed = [row for row in rows if "texts_per_second" in row]
    lines = [table(_HEADER, map(_cells, timed))] if timed else []
    lines += [
        table(
            ("row", "texts/s", "step", "in all", "MB"),
            (
                (
                    each["name"],
                    f"{each['queries_per_second']['median']:,.0f}{' ~' if each['noisy'] else ''}",
                    f"{each['step_speedup']['median']:.2f}",
                    f"{each['total_speedup']['median']:.2f}",
                    f"{each['memory_mb']:,.0f}",
                )
                for each in (*row["ladder"]["rows"], *row["ladder"]["comparisons"])
            ),
        )
        for row in rows
        if "ladder" in row
    ]
    lines += [
        f"{row['row']}: cosine {row['cosine_mean']:.6f} in the mean, {row['cosine_worst']:.6f} at worst of "
        f"{row['texts']} texts"
        for row in rows
        if "cosine_mean" in row
    ]
    lines += [f"Not measured: {row['row']}, {row['of']}: {row['not_measured']}" for row in missing]
    if "not_measured" in section:
        lines.append(f"Not measured: {section['not_measured']}")
    return lines


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["row"],
        row["of"],
        f"{row['texts_per_second']['median']:,.0f}{' ~' if row['noisy'] else ''}",
        f"{row['speedup']['median']:.2f}",
        f"{row['memory_mb']:,.0f}",
        f"{100 * row['padding_share']:.0f} %",
        f"{row['largest_difference']:.1g}",
        f"{100 * row['changed_answers']:.1f} %",
    )


def _goals(document: Mapping[str, Any]) -> list[str]:
    """The two figures that the paper gives, and what this run reached."""
    if document["tiny"]:
        return ["Goals are not looked at in a tiny run."]
    found = {name: section["rows"] for name, section in document["sections"].items()}
    half = [
        row["speedup"]["median"]
        for row in found.get("precisions", [])
        if row["row"] == "half" and row.get("compared_with") == "float32"
    ]
    ladders = [row["ladder"]["rows"] for row in found.get("ladder", []) if "ladder" in row]
    return [
        f"Half over float32 out of the box: {max(half):.2f} times (to reach: {HALF_TO_REACH})."
        if half
        else "Half over float32: not measured.",
        f"All steps together: {ladders[0][-1]['total_speedup']['median']:.1f} times (to reach: {ALL_TO_REACH})."
        if ladders
        else "All steps together: not measured.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.report", description=__doc__)
    parser.add_argument("json", type=Path)
    print(summary(json.loads(parser.parse_args().json.read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
