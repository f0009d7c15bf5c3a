# SPDX-License-Identifier: MIT
"""A million requests of random lengths, 200 load/close cycles, and five idle seconds: what is left over.

usage: python -m bench.soak.run [--requests 1000000] [--cycles 200] [--idle-seconds 5] [--json out.json]

The model is small and random (2 layers x 32), so that everything around the computing is what is tested. Requests go
through `submit`, a window of them in flight, one in fifty as part of a list through `embed`. Exit status 1 when a bound
is missed:

    memory at the end         <= memory at 5 % of the requests + 5 MB
    after the cycles          <= after a tenth of them + 5 MB, and no thread more
    idle CPU                  <  0.5 % of one core
    answers                   all there, all those that are looked at the right bits
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastformers.benchmarking.random_encoder import random_plan, random_tensors, random_texts, word_tokenizer
from fastformers.kernels import NativeEncoder
from fastformers.runtime.engine import Engine

MEGABYTE = 1_000_000
MOST_GROWTH_BYTES = 5 * MEGABYTE
MOST_IDLE_CPU = 0.005
IN_FLIGHT = 64
CHECK_EVERY = 97
LIST_EVERY = 50
LIST_LENGTH = 8


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was seen; bytes are resident memory of the process."""

    requests: int
    requests_per_second: float
    wrong_answers: int
    bytes_at_5_percent: int
    bytes_at_end: int
    cycles: int
    bytes_after_some_cycles: int
    bytes_after_cycles: int
    threads_after_some_cycles: int
    threads_after_cycles: int
    idle_cpu: float

    def missed(self) -> list[str]:
        """Says which bounds do not hold."""
        bounds = {
            f"{self.wrong_answers} answers differ": self.wrong_answers == 0,
            "memory grew while serving": self.bytes_at_end - self.bytes_at_5_percent <= MOST_GROWTH_BYTES,
            "memory grew with load/close cycles": (
                self.bytes_after_cycles - self.bytes_after_some_cycles <= MOST_GROWTH_BYTES
            ),
            "threads were left behind": self.threads_after_cycles <= self.threads_after_some_cycles,
            f"idle CPU is {100 * self.idle_cpu:.2f} %": self.idle_cpu < MOST_IDLE_CPU,
        }
        return [claim for claim, holds in bounds.items() if not holds]


def status_of_process(name: str) -> int:
    """A number of /proc/self/status: ``VmRSS`` (kB) or ``Threads``."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def resident_bytes() -> int:
    """Resident memory of this process, garbage collected before."""
    gc.collect()
    return 1024 * status_of_process("VmRSS")


def make_engine(instances: int = 2) -> Engine:
    """Packs a small random encoder and opens an engine over it."""
    plan = random_plan()
    native = NativeEncoder(plan.to_dict(), random_tensors(plan))
    return Engine(native, plan, word_tokenizer(), instances=instances)


def serve(engine: Engine, requests: int) -> dict[str, Any]:
    """Sends the requests; returns memory at 5 % and at the end, speed, and the number of wrong answers."""
    texts = random_texts(2000, 120)
    expected = engine.embed(texts)
    flying: deque[tuple[int, Any]] = deque()
    wrong = 0
    at_5_percent = 0
    begin = time.perf_counter()

    def take_oldest() -> int:
        index, future = flying.popleft()
        vector = future.result(timeout=60)
        return int(index % CHECK_EVERY == 0 and not np.array_equal(vector, expected[index % len(texts)]))

    for index in range(requests):
        if index == requests // 20:
            at_5_percent = resident_bytes()
        if index % LIST_EVERY == 0:
            first = index % (len(texts) - LIST_LENGTH)
            part = slice(first, first + LIST_LENGTH)
            wrong += int(not np.array_equal(engine.embed(texts[part]), expected[part]))
            continue
        while len(flying) >= IN_FLIGHT:
            wrong += take_oldest()
        flying.append((index, engine.submit(texts[index % len(texts)], task="embed")))
    while flying:
        wrong += take_oldest()
    return {
        "requests": requests,
        "requests_per_second": requests / (time.perf_counter() - begin),
        "wrong_answers": wrong,
        "bytes_at_5_percent": at_5_percent,
        "bytes_at_end": resident_bytes(),
    }


def load_and_close(cycles: int) -> dict[str, int]:
    """Loads, uses and closes an engine again and again; the first tenth is warming up."""
    seen: dict[str, int] = {"cycles": cycles}
    for cycle in range(cycles):
        if cycle == max(1, cycles // 10):
            seen["bytes_after_some_cycles"] = resident_bytes()
            seen["threads_after_some_cycles"] = status_of_process("Threads")
        with make_engine(instances=1 + cycle % 3) as engine:
            engine.submit("w1 w2").result(timeout=60)
            engine.embed(["w1", "w2 w3"])
    return {
        **seen,
        "bytes_after_cycles": resident_bytes(),
        "threads_after_cycles": status_of_process("Threads"),
    }


def idle_cpu(seconds: float) -> float:
    """Share of one core that an open engine without requests uses."""
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - before) / seconds


def soak(requests: int, cycles: int, idle_seconds: float, say: Callable[[str], object] = print) -> Report:
    """Runs the three parts."""
    with make_engine() as engine:
        served = serve(engine, requests)
        say(
            f"{requests:,} requests at {served['requests_per_second']:,.0f} a second; memory "
            f"{served['bytes_at_5_percent'] / MEGABYTE:.1f} MB at 5 %, "
            f"{served['bytes_at_end'] / MEGABYTE:.1f} MB at the end"
        )
        idle = idle_cpu(idle_seconds)
        say(f"idle CPU {100 * idle:.3f} % over {idle_seconds:g} s")
    cycled = load_and_close(cycles)
    say(
        f"{cycles} load/close cycles; memory {cycled['bytes_after_some_cycles'] / MEGABYTE:.1f} MB after a tenth, "
        f"{cycled['bytes_after_cycles'] / MEGABYTE:.1f} MB at the end"
    )
    return Report(**served, **cycled, idle_cpu=idle)


def main() -> int:
    """Parses the command line, runs, prints and judges."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--idle-seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = soak(options.requests, options.cycles, options.idle_seconds)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    for claim in report.missed():
        print(f"MISSED: {claim}", file=sys.stderr)
    return 1 if report.missed() else 0


if __name__ == "__main__":
    sys.exit(main())
