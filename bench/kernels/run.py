# SPDX-License-Identifier: MIT
"""Measures the table of INT8 linear layers: fastformers and the contestants, interleaved in one run.

``python -m bench.kernels.run --threads 1 2 --json kernels.json``, then ``python -m bench.kernels.report
kernels.json``. The JSON holds every reading of every round and is written after each cell, so an interrupted
run goes on with ``--resume``. Method: ``bench/README.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness.readings_file import REPOSITORY, collect, left_out
from bench.kernels.cases import ROWS, Shape, load_shapes
from bench.kernels.contestants import ALL, CAPPED_PEER, OURS, OURS_AVX2
from bench.kernels.report import describe_cell
from fastformers.benchmarking.contestant_process import ContestantError, ContestantProcess, start_all
from fastformers.benchmarking.contestants import Contestant, by_name, split_by_presence
from fastformers.benchmarking.machine import machine_facts
from fastformers.measuring import interleave

SCHEMA = "fastformers-kernel-table/1"
WORKER = "bench.kernels.worker"
AVX2_GROUP, AVX2_ROWS = "base", 64
Processes = dict[str, ContestantProcess]


def takes_part(name: str, shape: Shape, rows: int, threads: int) -> bool:
    """Says whether a contestant is measured in a cell; the pair without VNNI only where it has a target."""
    if name not in (OURS_AVX2.name, CAPPED_PEER.name):
        return True
    return shape.group == AVX2_GROUP and rows >= AVX2_ROWS and threads == 1


def readings_of(
    process: ContestantProcess, threads: int, seconds: float
) -> dict[str, Callable[[int], dict[str, Any]]]:
    """Lists what is read of a contestant in each round: the call from Python and, of us, the core."""
    name = process.name
    readings: dict[str, Callable[[int], dict[str, Any]]] = {
        name: lambda _: process.ask("block", seconds=seconds)
    }
    if name in (OURS.name, OURS_AVX2.name):
        readings[f"{name}/kernel"] = lambda _: process.ask("kernel", seconds=seconds, threads=threads)
        if threads > 1:
            readings[f"{name}/kernel_one_thread"] = lambda _: process.ask(
                "kernel", seconds=seconds, threads=1
            )
    return readings


def measure_cell(
    processes: Processes, shape: Shape, rows: int, threads: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Measures one cell: all contestants in ``rounds`` interleaved rounds of ``seconds`` each.

    Returns:
        The cell as JSON: its shape, ``cosine`` with float32 per contestant, ``readings`` (one entry per
        round), ``errors``.
    """
    cosines: dict[str, float] = {}
    errors: dict[str, str] = {}
    readings: dict[str, Callable[[int], dict[str, Any]]] = {}
    for name, process in processes.items():
        if not takes_part(name, shape, rows, threads):
            continue
        try:
            answer = process.ask(
                "prepare", group=shape.group, columns=shape.columns, depth=shape.depth, rows=rows
            )
        except ContestantError as error:
            errors[name] = str(error)
            continue
        cosines[name] = answer["cosine"]
        readings |= readings_of(process, threads, seconds)
    return {
        "threads": threads,
        "group": shape.group,
        "N": shape.columns,
        "K": shape.depth,
        "M": rows,
        "cosine": cosines,
        "readings": interleave(readings, rounds),
        "errors": errors,
    }


def key_of(cell: dict[str, Any]) -> tuple[int, int, int, int]:
    """Identifies a cell: threads, N, K, M."""
    return cell["threads"], cell["N"], cell["K"], cell["M"]


def measure_table(
    arguments: argparse.Namespace, contestants: Sequence[Contestant], document: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Measures and yields every cell that the document lacks; notes in it who could not start."""
    done = {key_of(cell) for cell in document["cells"]}
    for threads in arguments.threads:
        todo = [
            (shape, rows)
            for shape in load_shapes(arguments.groups)
            for rows in arguments.rows
            if (threads, shape.columns, shape.depth, rows) not in done
        ]
        if not todo:
            continue
        cores = arguments.cores[:threads]
        os.sched_setaffinity(0, cores)
        with ExitStack() as stack:
            start = partial(
                ContestantProcess, worker=WORKER, threads=threads, cores=cores, search=[REPOSITORY]
            )
            processes, refused = start_all(contestants, start, stack)
            document["missing"] |= left_out(refused)
            for shape, rows in todo:
                seconds = arguments.block_ms / 1000
                yield measure_cell(processes, shape, rows, threads, arguments.rounds, seconds)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.kernels.run", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="thread counts, one table each (default 1)"
    )
    parser.add_argument("--groups", nargs="+", help="groups of bench/shapes.csv (default all)")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="values of M (default all)")
    parser.add_argument("--contestants", nargs="+", default=[c.name for c in ALL], help="names (default all)")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds per cell (default 7)")
    parser.add_argument(
        "--block-ms", type=float, default=25, help="length of one block in milliseconds (default 25)"
    )
    parser.add_argument(
        "--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)), help="cores to pin to"
    )
    parser.add_argument("--json", type=Path, required=True, help="file for the readings")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parsed = parser.parse_args(arguments)
    if max(parsed.threads) > len(parsed.cores):
        parser.error(
            f"--threads {max(parsed.threads)} needs as many cores, but --cores has {len(parsed.cores)}"
        )
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the table; returns the exit code."""
    parsed = parse(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    contestants, missing = split_by_presence([by_name(ALL, name) for name in parsed.contestants])
    header = {
        "schema": SCHEMA,
        "settings": {"rounds": parsed.rounds, "block_ms": parsed.block_ms, "cores": parsed.cores},
        "machine": machine_facts().to_dict(),
        "command": f"python -m bench.kernels.run {' '.join(words)}",
        "missing": left_out(missing),
    }
    measure = partial(measure_table, parsed, contestants)
    return collect(parsed.json, parsed.resume, header, measure, describe_cell)


if __name__ == "__main__":
    sys.exit(main())
