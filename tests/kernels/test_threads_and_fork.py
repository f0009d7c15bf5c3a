# SPDX-License-Identifier: MIT
"""Threads, forks, signals and idleness of a process that uses the kernels; most tests run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from thread_calls import call_on_threads

from fastformers import kernels

Draw = Callable[..., NDArray[np.float32]]

SETUP = """
import os, signal, sys, threading, time
import numpy as np
from fastformers import kernels

rng = np.random.default_rng(0)
x = rng.standard_normal((200, 384)).astype(np.float32)
weight = kernels.pack(rng.standard_normal((512, 384)).astype(np.float32))
expected = kernels.linear(x, weight, activation="gelu", threads=1)

def right(threads=2):
    return np.array_equal(kernels.linear(x, weight, activation="gelu", threads=threads), expected)
"""


def run_script(body: str, timeout: float = 60, **environment: str) -> str:
    """Output of a fresh process; a hang is a failure."""
    answer = subprocess.run(
        [sys.executable, "-c", SETUP + body],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert answer.returncode == 0, f"exit code {answer.returncode}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def test_children_forked_after_use_compute_and_the_parent_goes_on() -> None:
    output = run_script("""
assert right() and kernels.pool_workers() == 1
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        ok = kernels.pool_workers() == 0 and all(right() for _ in range(50)) and kernels.pool_workers() == 1
        os._exit(0 if ok else 1)
    children.append(child)
assert all(right() for _ in range(50))
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0, 0, 0, 0], codes
assert all(right() for _ in range(50))
print("done")
""")
    assert output == "done\n"


def test_children_forked_while_another_thread_computes() -> None:
    output = run_script("""
stop = threading.Event()
def compute():
    while not stop.is_set():
        assert right()
busy = threading.Thread(target=compute)
busy.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if right() else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
busy.join()
assert codes == [0] * 20, codes
print("done")
""")
    assert output == "done\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_of_multiprocessing(method: str, tmp_path: Any) -> None:
    script = tmp_path / "spawned.py"
    body = f"""
def child(queue):
    queue.put(right())

if __name__ == "__main__":
    import multiprocessing
    context = multiprocessing.get_context("{method}")
    queue = context.Queue()
    processes = [context.Process(target=child, args=(queue,)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == [True, True]
    for process in processes:
        process.join()
        assert process.exitcode == 0
"""
    script.write_text(SETUP + body)
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)


def test_importing_and_one_thread_start_no_worker() -> None:
    output = run_script("""
assert kernels.pool_workers() == 0
assert right(threads=1)
print(kernels.pool_workers(), threading.active_count(), len(os.listdir("/proc/self/task")))
""", OPENBLAS_NUM_THREADS="1")  # fmt: skip
    assert output == "0 1 1\n"


def test_idle_process_uses_no_cpu() -> None:
    output = run_script("""
assert right(threads=3) and kernels.pool_workers() == 2
time.sleep(0.05)
before = time.process_time()
time.sleep(2)
print((time.process_time() - before) / 2)
""")
    assert float(output) < 0.005


def test_interrupt_during_compute_is_a_keyboard_interrupt() -> None:
    output = run_script("""
def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=interrupt).start()
deadline = time.monotonic() + 30
try:
    while time.monotonic() < deadline:
        right()
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", right())
""")
    assert output == "interrupted True\n"


def test_interpreter_exit_during_compute() -> None:
    """Daemon threads inside kernels, pool workers alive: the process ends at once and with its own exit code.

    Short calls, so that most threads are waiting for the GIL when the interpreter takes it away for good.
    """
    for _ in range(5):
        start = time.monotonic()
        run_script("""
assert right()
small, tiny = x[:20, :64], kernels.pack(np.ones((32, 64), np.float32))
def forever():
    while True:
        kernels.linear(small, tiny)
for _ in range(6):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.02)
""")
        assert time.monotonic() - start < 30


def test_thread_count_comes_from_the_environment_or_is_refused() -> None:
    assert run_script("print(kernels.num_threads())", FASTFORMERS_NUM_THREADS="3") == "3\n"
    answer = subprocess.run(
        [sys.executable, "-c", "from fastformers import kernels; kernels.num_threads()"],
        env={**os.environ, "FASTFORMERS_NUM_THREADS": "many"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode != 0
    assert "many" in answer.stderr
    assert "FASTFORMERS_NUM_THREADS" in answer.stderr


def test_threads_that_call_at_once_get_their_own_results(isa: str, draw: Draw) -> None:
    weights = [kernels.pack(draw(seed, 200 + seed, 312)) for seed in range(4)]
    inputs = [draw(seed + 10, 150, 312) for seed in range(4)]
    expected = [kernels.linear(x, weight, threads=1) for x, weight in zip(inputs, weights, strict=True)]
    wrong: list[int] = []
    barrier = threading.Barrier(4)

    def call(index: int) -> None:
        barrier.wait()
        for round_ in range(40):
            result = kernels.linear(inputs[index], weights[index], threads=1 + round_ % 3)
            if not np.array_equal(result, expected[index]):
                wrong.append(index)

    call_on_threads(call, 4)
    assert wrong == []


LONG_CALLS = [
    "ceiling_gflops",
    "ceiling_gops",
    "gelu",
    "layer_norm",
    "linear",
    "linear_quantized",
    "linear_to_quantized",
    "matmul_s32",
    "pack",
    "quantize_rows",
    "softmax",
    "time_linear",
]


def _long_calls(draw: Draw) -> dict[str, Callable[[], Any]]:
    """One call of each compute function, long enough (some 10 ms) for another thread to be scheduled beside it."""
    x, weight = draw(1, 1500, 768), kernels.pack(draw(2, 1024, 768))
    rows = kernels.quantize_rows(x)
    wide, vector = draw(3, 6000, 768), draw(4, 768)
    canonical = weight.unpack()[0].repeat(12, axis=0)
    scales = np.ones(canonical.shape[0], np.float32)
    return {
        "linear": lambda: kernels.linear(x, weight, threads=1),
        "linear_quantized": lambda: kernels.linear_quantized(rows, weight, threads=1),
        "linear_to_quantized": lambda: kernels.linear_to_quantized(x, weight, threads=1),
        "matmul_s32": lambda: kernels.matmul_s32(rows.q, weight, threads=1),
        "quantize_rows": lambda: kernels.quantize_rows(wide, threads=1),
        "layer_norm": lambda: kernels.layer_norm(wide, vector, vector, threads=1),
        "softmax": lambda: kernels.softmax(wide, threads=1),
        "gelu": lambda: kernels.gelu(wide, threads=1),
        "pack": lambda: kernels.pack(canonical, scales),
        "time_linear": lambda: kernels.time_linear(x, weight, repetitions=2),
        "ceiling_gflops": lambda: (
            kernels.ceiling_gflops(seconds=0.05) if kernels.active_isa() != "reference" else time.sleep(0.05)
        ),
        "ceiling_gops": lambda: (
            kernels.ceiling_gops(seconds=0.05) if kernels.active_isa() != "reference" else time.sleep(0.05)
        ),
    }


def _ticks_beside(call: Callable[[], Any]) -> int:
    """How often this thread ran Python code while another was inside ``call`` (its first and last fifth left out)."""
    interval: list[float] = []

    def timed() -> None:
        begin = time.perf_counter()
        call()
        interval.extend((begin, time.perf_counter()))

    worker = threading.Thread(target=timed)
    ticks: list[float] = []
    worker.start()
    while worker.is_alive():
        ticks.append(time.perf_counter())
    worker.join()
    begin, end = interval
    margin = (end - begin) / 5
    return sum(begin + margin < tick < end - margin for tick in ticks)


@pytest.mark.parametrize("name", LONG_CALLS)
def test_other_threads_run_python_during_a_call(draw: Draw, name: str) -> None:
    """With the GIL held inside the call, the count is 0 in every attempt; without, one attempt is usually enough."""
    call = _long_calls(draw)[name]
    call()
    assert any(_ticks_beside(call) > 0 for _ in range(20))
