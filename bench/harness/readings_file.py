# SPDX-License-Identifier: MIT
"""The JSON file of a run: begun, written after each cell, gone on with, never mixed with another run's readings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastformers.benchmarking.contestant_process import ContestantError

REPOSITORY = Path(__file__).resolve().parents[2]
#: They change what can be measured, not how fast it is.
INPUT_VARIABLES = ("FASTFORMERS_DATA", "FASTFORMERS_MPNET")


def read_or_begin(path: Path, resume: bool, header: dict[str, Any]) -> dict[str, Any]:
    """Returns the document to add cells to: the one on disk with ``--resume``, else a new one.

    Raises:
        SystemExit: the file exists and may not be overwritten, or was measured in another way.
    """
    if not path.exists():
        return {**header, "cells": []}
    if not resume:
        raise SystemExit(f"{path} exists: add --resume to go on with it, or choose another file")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("schema", "settings", "machine"):
        differs = difference(key, document.get(key), header[key])
        if differs:
            raise SystemExit(f"{path} has other {key} than this run ({differs}): choose another file")
    return document


def difference(name: str, old: Any, new: Any) -> str:
    """Says where two headers differ, e.g. ``machine.cpu.active_isa``; empty where they mean the same."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return "" if old == new else name
    keys = [key for key in dict.fromkeys([*old, *new]) if key not in INPUT_VARIABLES]
    found = [difference(f"{name}.{key}", old.get(key), new.get(key)) for key in keys]
    return ", ".join(filter(None, found))


def write(path: Path, document: dict[str, Any]) -> None:
    """Writes the document to a sibling and renames it, so that a stopped run leaves a whole file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def collect(
    path: Path,
    resume: bool,
    header: dict[str, Any],
    measure: Callable[[dict[str, Any]], Iterator[dict[str, Any]]],
    describe: Callable[[dict[str, Any]], str],
) -> int:
    """Runs a benchmark: adds each cell to the file as soon as it is measured, and tells it in a line.

    Args:
        path: the file.
        resume: go on with the file when it is there.
        header: what a new file begins with.
        measure: yields the cells that a document lacks.
        describe: cell -> line.

    Returns:
        The exit code.

    Raises:
        SystemExit: see :func:`read_or_begin`.
    """
    document = read_or_begin(path, resume, header)
    try:
        for cell in measure(document):
            document["cells"].append(cell)
            write(path, document)
            print(describe(cell), flush=True)
    except ContestantError as error:
        print(f"stopped: {error}; the cells before are in {path}", file=sys.stderr)
        return 1
    return 0


def left_out(reasons: Mapping[str, str]) -> dict[str, str]:
    """Says on stderr who takes no part and why; returns the reasons."""
    for name, reason in reasons.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return dict(reasons)
