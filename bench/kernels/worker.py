# SPDX-License-Identifier: MIT
"""One contestant in one process: prepares a cell, times a block when asked, sleeps in between.

Run by :mod:`bench.kernels.process`, not by hand: ``python -m bench.kernels.worker NAME THREADS CORES``. Reads
one JSON command per line and answers each with one JSON line. It answers a block only when the library's own
threads have stopped spinning, so that they do not steal time from the contestant that comes next.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from bench.kernels.cases import Case, Shape, cosine, make_case
from bench.kernels.contestants import Contestant, by_name
from fastformers.benchmarking.measure import time_block

QUIET_SLICE_SECONDS = 0.002
QUIET_SHARE = 0.1
QUIET_TIMEOUT_SECONDS = 0.5


class Worker:
    """Holds the prepared cell of one contestant and answers commands about it."""

    def __init__(self, contestant: Contestant, threads: int) -> None:
        self.contestant = contestant
        self.threads = threads
        self.case: Case | None = None
        self.call: Callable[[], object] | None = None

    def prepare(self, group: str, columns: int, depth: int, rows: int) -> dict[str, Any]:
        """Packs a cell's weights and says how close the contestant's answer is to float32."""
        self.case = make_case(Shape(group, columns, depth), rows)
        self.call = self.contestant.prepare(self.case, self.threads)
        return {"cosine": cosine(np.asarray(self.call()), self.case.expected)}

    def block(self, seconds: float) -> dict[str, Any]:
        """Times calls from Python for about ``seconds``."""
        if self.call is None:
            raise RuntimeError("block before prepare")
        return {"seconds": time_block(self.call, seconds)}

    def kernel(self, seconds: float, threads: int) -> dict[str, float]:
        """Times the loop inside our core, with the ceiling and, for one row, the bandwidth beside it."""
        from bench.kernels.contestants import fastformers_linear

        if self.case is None:
            raise RuntimeError("kernel before prepare")
        return fastformers_linear.kernel_reading(self.case, threads, seconds)

    def load(self) -> dict[str, Any]:
        """Imports the contestant's library, so that one that cannot start says so before the table begins."""
        self.contestant.load()
        return {}


def wait_until_quiet() -> None:
    """Returns when this process has stopped burning CPU time (spinning workers), or after half a second."""
    deadline = time.perf_counter() + QUIET_TIMEOUT_SECONDS
    while time.perf_counter() < deadline:
        burnt = time.process_time()
        time.sleep(QUIET_SLICE_SECONDS)
        if time.process_time() - burnt < QUIET_SHARE * QUIET_SLICE_SECONDS:
            return


def serve(worker: Worker, commands: TextIO, answers: TextIO) -> None:
    """Answers commands until the input ends."""
    actions: dict[str, Callable[..., dict[str, Any]]] = {
        "prepare": worker.prepare,
        "block": worker.block,
        "kernel": worker.kernel,
        "load": worker.load,
    }
    for line in commands:
        command = json.loads(line)
        try:
            answer = actions[command.pop("do")](**command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        if worker.threads > 1:
            wait_until_quiet()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(name: str, threads: str, cores: str) -> None:
    """Pins the process and serves; whatever a library prints goes to stderr."""
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    contestant = by_name(name)
    with contestant.inference():
        serve(Worker(contestant, int(threads)), sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
