# SPDX-License-Identifier: MIT
"""One contestant in one process: prepares a cell, times a block when asked, sleeps in between.

Started by :mod:`bench.kernels.run`, not by hand: ``python -m bench.kernels.worker NAME THREADS CORES``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.kernels.cases import Case, Shape, cosine, make_case
from bench.kernels.contestants import ALL
from fastformers.benchmarking.contestant_server import isolate, serve
from fastformers.benchmarking.contestants import Contestant, by_name
from fastformers.measuring import time_block


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
        contestant = self.contestant
        self.call = contestant.load().prepare(self.case, self.threads, **contestant.options)
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


def main(name: str, threads: str, cores: str) -> None:
    """Pins the process and serves."""
    answers = isolate(cores)
    contestant = by_name(ALL, name)
    with contestant.inference():
        worker = Worker(contestant, int(threads))
        actions = {
            "prepare": worker.prepare,
            "block": worker.block,
            "kernel": worker.kernel,
            "load": worker.load,
        }
        serve(actions, sys.stdin, answers, threads=int(threads))


if __name__ == "__main__":
    main(*sys.argv[1:])
