# SPDX-License-Identifier: MIT
"""Measures whole encoders: fastformers and the engines a user would pick, interleaved in one run.

``python -m bench.workloads.encoder.run --threads 1 2 --json encoder.json``, then ``python -m
bench.workloads.encoder.report encoder.json``. The JSON holds every reading of every round and is written after each
cell, so an interrupted run goes on with ``--resume``. Method: ``README.md`` beside this file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.harness.readings_file import REPOSITORY, collect, left_out
from bench.workloads.encoder.cells import BATCHES, ROWS, grid
from bench.workloads.encoder.contestants import ENTRIES
from bench.workloads.encoder.entry import Entry
from bench.workloads.encoder.report import describe_cell
from bench.workloads.encoder.shapes import SHAPES, shape_named
from bench.workloads.encoder.team import Team
from fastformers.benchmarking.contestant_process import ContestantProcess, start_all
from fastformers.benchmarking.contestants import split_by_presence
from fastformers.benchmarking.encoder_worker import MODULE
from fastformers.benchmarking.engines import REFERENCE
from fastformers.benchmarking.machine import machine_facts

SCHEMA = "fastformers-encoder-grid/1"
SOURCE = "bench.workloads.encoder.models:RandomModel"


def measure_grid(
    arguments: argparse.Namespace, entries: Sequence[Entry], workspace: Path, document: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Measures and yields every cell that the document lacks; notes in it who could not start."""
    done = {(cell["model"], cell["rows"], cell["batch"], cell["threads"]) for cell in document["cells"]}
    for threads in arguments.threads:
        cells = grid(arguments.models, arguments.batches, arguments.rows, threads)
        todo = [cell for cell in cells if (cell.model, cell.rows, cell.batch, threads) not in done]
        if not todo:
            continue
        cores = arguments.cores[:threads]
        os.sched_setaffinity(0, cores)
        engines = {REFERENCE.name: REFERENCE, **{entry.name: entry.engine for entry in entries}}
        start = partial(
            ContestantProcess,
            worker=MODULE,
            threads=threads,
            cores=cores,
            arguments=[SOURCE],
            search=[REPOSITORY],
        )
        with ExitStack() as stack:
            processes, refused = start_all(list(engines.values()), start, stack)
            document["missing"] |= left_out(refused)
            team = Team(processes, entries, workspace)
            for cell in todo:
                yield team.measure(cell, arguments.rounds, arguments.block_ms / 1000)


def chosen_entries(names: Sequence[str] | None) -> tuple[list[Entry], dict[str, str]]:
    """Returns the wanted contestants that can run and, with the remedy, those that cannot.

    Raises:
        SystemExit: an unknown name.
    """
    known = {entry.name: entry for entry in ENTRIES}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SystemExit(f"unknown contestant {unknown[0]!r}: choose among {', '.join(known)}")
    present, missing = split_by_presence([known[name].engine for name in names or known])
    return [known[engine.name] for engine in present], missing


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.workloads.encoder.run", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[1], help="thread counts (default 1)")
    add("--models", nargs="+", default=[shape.name for shape in SHAPES], help="names (default all)")
    add("--batches", nargs="+", default=list(BATCHES), choices=list(BATCHES), help="names (default all)")
    add("--rows", nargs="+", default=list(ROWS), choices=ROWS, help="rows that the head reads (default both)")
    add("--contestants", nargs="+", help="names (default all)")
    add("--rounds", type=int, default=5, help="interleaved rounds per cell (default 5)")
    add("--block-ms", type=float, default=80, help="length of one block in milliseconds (default 80)")
    add("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)), help="cores to pin to")
    add("--workspace", type=Path, help="folder that keeps converted models (default a temporary one)")
    add("--json", type=Path, required=True, help="file for the readings")
    add("--resume", action="store_true", help="go on with an interrupted run")
    parsed = parser.parse_args(arguments)
    if max(parsed.threads) > len(parsed.cores):
        parser.error(f"--threads {max(parsed.threads)} needs as many cores: --cores has {len(parsed.cores)}")
    try:
        for name in parsed.models:
            shape_named(name)
    except ValueError as error:
        parser.error(str(error))
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the grid; returns the exit code."""
    parsed = parse(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    entries, missing = chosen_entries(parsed.contestants)
    header = {
        "schema": SCHEMA,
        "settings": {"rounds": parsed.rounds, "block_ms": parsed.block_ms, "cores": parsed.cores},
        "machine": machine_facts().to_dict(),
        "command": f"python -m bench.workloads.encoder.run {' '.join(words)}",
        "missing": left_out(missing),
    }
    with TemporaryDirectory() as temporary:
        workspace = (parsed.workspace or Path(temporary)).absolute()
        workspace.mkdir(parents=True, exist_ok=True)
        measure = partial(measure_grid, parsed, entries, workspace)
        return collect(parsed.json, parsed.resume, header, measure, describe_cell)


if __name__ == "__main__":
    sys.exit(main())
