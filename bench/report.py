# SPDX-License-Identifier: MIT
"""Turns the file of a whole run into the tables of the READMEs and README's picture.

``python -m bench.report FILE`` prints all tables; ``--write`` puts each between its two marker lines, and draws the
picture. A part that the file does not hold keeps the table it has, and is named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.harness.readings_file import REPOSITORY
from bench.whole.regions import replace_region
from bench.whole.results_file import SCHEMA, cleaned
from bench.whole.tables import TABLES, summary_table

__all__ = ["main", "write_tables"]

SUMMARY = "parts"
#: Part -> file with its region; all others are in bench/README.md.
ELSEWHERE = {"demo": "README.md"}
BENCH_README = "bench/README.md"
PICTURE = "docs/demo.png"
#: Folder of the file, as seen from bench/README.md and from README.md.
RESULTS = ("results", "bench/results")


def tables_of(document: Mapping[str, Any], path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns region -> text of what was measured, and part -> reason of what was not."""
    parts = document["parts"]
    texts = {SUMMARY: summary_table(document, path.name)}
    absent: dict[str, str] = {}
    for name, write in TABLES.items():
        part = parts.get(name, {"state": "not in the file", "reason": ""})
        if part.get("result") is None:
            absent[name] = f"{part['state']}{': ' if part['reason'] else ''}{part['reason']}"
            continue
        unfinished = "" if part["state"] == "measured" else f"\n\n**Not whole**: {part['reason']}."
        source = f"From [{path.name}]({RESULTS[name in ELSEWHERE]}/{path.name}).{unfinished}"
        table = write(part["result"])
        texts[name] = f"{table}\n\n{source}" if name in ELSEWHERE else f"{source}\n\n{table}"
    return texts, absent


def write_tables(document: Mapping[str, Any], path: Path, root: Path) -> None:
    """Writes every region and the picture below ``root``; says on stderr which parts keep what they have."""
    texts, absent = tables_of(cleaned(document), path)
    for name, text in texts.items():
        replace_region(root / ELSEWHERE.get(name, BENCH_README), name, text)
    if "demo" in texts:
        _draw(document["parts"]["demo"]["result"], root / PICTURE)
    for name, reason in absent.items():
        print(f"{name} keeps its table: {reason}", file=sys.stderr)
    print(f"wrote {', '.join(texts)} below {root}")


def _draw(result: Mapping[str, Any], path: Path) -> None:
    from fastformers.benchmarking.demo_picture import draw
    from fastformers.benchmarking.demo_report import DemoReport

    draw(DemoReport.from_dict(result), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables or writes them; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="of bench.run")
    parser.add_argument("--write", action="store_true", help="write the regions and the picture")
    parser.add_argument(
        "--root", type=Path, default=REPOSITORY, help="of the files (default this repository)"
    )
    parsed = parser.parse_args(arguments)
    document = json.loads(parsed.file.read_text(encoding="utf-8"))
    if document.get("schema") != SCHEMA:
        raise SystemExit(
            f"{parsed.file} has schema {document.get('schema')!r}, must be {SCHEMA!r}: a file of bench.run"
        )
    if not parsed.write:
        for name, text in tables_of(document, parsed.file)[0].items():
            print(f"## {name}\n\n{text.strip()}\n")
        return 0
    if document["quick"] and parsed.root.resolve() == REPOSITORY:
        raise SystemExit(
            "a quick run's numbers mean nothing: give --root with a copy of the files to try the chain"
        )
    write_tables(document, parsed.file, parsed.root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
