# SPDX-License-Identifier: MIT
"""An engine that is full, late, closed, forked, forgotten or interrupted: an error in time, never a hang."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from typing import Any

import numpy as np
import pytest

from fastformers.errors import ClosedError, DeadlineError, QueueFullError
from fastformers.runtime.engine import Engine
from fastformers.runtime.futures import EngineFuture

MakeEngine = Callable[..., Engine]

LONG_TEXT = " ".join(["w7"] * 2046)  # 50 ms and more for the slow encoder

SETUP = """
import os, signal, sys, threading, time
import numpy as np
from fastformers.benchmarking.random_encoder import random_plan, random_tensors, random_texts, word_tokenizer
from fastformers.errors import ClosedError, ForkError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.engine import Engine

plan = random_plan()
native = NativeEncoder(plan.to_dict(), random_tensors(plan))

def make():
    return Engine(native, plan, word_tokenizer(), instances=2)

engine = make()
texts = random_texts(50, 100)
expected = engine.embed(texts)
"""


def run_script(body: str, timeout: float = 60) -> str:
    """Output of a fresh process; a hang, a crash and anything on stderr is a failure."""
    answer = subprocess.run(
        [sys.executable, "-c", SETUP + body], capture_output=True, text=True, timeout=timeout
    )
    assert answer.returncode == 0, f"exit code {answer.returncode}\n{answer.stdout}{answer.stderr}"
    assert answer.stderr == ""
    return answer.stdout


def submit_until_refused(engine: Engine, text: str, most: int) -> tuple[list[EngineFuture[Any]], str]:
    """Submits until the queue is full, which must come within ``most`` requests and at once; what was said."""
    accepted: list[EngineFuture[Any]] = []
    for _ in range(most):
        begin = time.monotonic()
        try:
            accepted.append(engine.submit(text))
        except QueueFullError as error:
            assert time.monotonic() - begin < 1
            return accepted, str(error)
    raise AssertionError(f"{most} requests were accepted")


def test_full_queue_is_an_error_at_once_and_loses_nothing(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1, queue=4)
    accepted, said = submit_until_refused(engine, LONG_TEXT, 100)
    assert len(accepted) >= 4
    assert "4 requests wait" in said
    answers = {future.result(timeout=60) for future in accepted}
    assert answers == {engine.predict([LONG_TEXT])[0]}


def test_full_queue_refuses_lists_too(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1, queue=1)
    busy, refused = [], False
    for _ in range(20):  # on a loaded machine there may be room again before the list comes
        accepted, _ = submit_until_refused(engine, LONG_TEXT, 100)
        busy += accepted
        try:
            engine.predict(["w1"])
        except QueueFullError:
            refused = True
            break
    assert refused
    wait(busy, timeout=60)
    assert len(engine.predict(["w1"])) == 1


def test_long_list_goes_through_a_short_queue(make_engine: MakeEngine, texts: list[str]) -> None:
    engine = make_engine(instances=1, queue=1, batch_tokens=10)
    assert np.array_equal(engine.embed(texts), make_engine().embed(texts))


def test_deadline_that_passed_is_told_in_time_and_costs_nothing(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1)
    busy = [engine.submit(LONG_TEXT) for _ in range(6)]
    busy[0].result(timeout=60)  # so that one is under way: a short text goes before those that are not
    begin = time.monotonic()
    late = engine.submit("w1", deadline_ms=2)
    with pytest.raises(DeadlineError, match="nothing was computed"):
        late.result(timeout=60)
    assert time.monotonic() - begin >= 0.002
    assert not busy[-1].done()  # told while the instance was still busy
    assert engine.submit("w1", deadline_ms=60_000).result(timeout=60)
    with pytest.raises(TimeoutError):  # what code that knows nothing of us would catch
        engine.submit("w1", deadline_ms=0).result(timeout=60)


def test_short_texts_pass_long_ones_and_long_ones_get_their_share(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1)
    order: list[str] = []
    requests = [("long", LONG_TEXT)] * 6 + [("short", "w1 w2")] * 20
    futures = []
    for kind, text in requests:
        future = engine.submit(text)
        future.add_done_callback(lambda _, kind=kind: order.append(kind))
        futures.append(future)
    wait(futures, timeout=120)
    first, last = order.index("short"), len(order) - 1 - order[::-1].index("short")
    assert first <= 2  # behind the long one in progress, at most
    assert last <= 23  # not behind all long ones
    assert order.count("long") == 6


def test_cancelled_request_is_taken_out_of_the_queue(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1, queue=2)
    busy = engine.submit(LONG_TEXT)
    while engine._pool.running == 0:
        time.sleep(0.001)
    waiting = [engine.submit(LONG_TEXT) for _ in range(2)]
    assert waiting[0].cancel()
    another = engine.submit("w1")  # there is room again
    with pytest.raises(CancelledError):
        waiting[0].result(timeout=60)
    assert all(future.result(timeout=60) for future in (busy, waiting[1], another))


def test_future_can_be_awaited(make_engine: MakeEngine) -> None:
    engine = make_engine()

    async def ask() -> object:
        return await asyncio.wait_for(asyncio.wrap_future(engine.submit("w1 w2")), timeout=60)

    assert asyncio.run(ask()) == engine.predict(["w1 w2"])[0]


@pytest.mark.parametrize(
    ("callback", "logged"), [(lambda _: 1 // 0, "ZeroDivisionError"), (lambda _: sys.exit(3), "SystemExit")]
)
def test_what_a_callback_raises_does_not_stop_later_answers(
    make_slow_engine: MakeEngine,
    caplog: pytest.LogCaptureFixture,
    callback: Callable[[Any], Any],
    logged: str,
) -> None:
    engine = make_slow_engine(instances=1)
    future = engine.submit(LONG_TEXT)
    future.add_done_callback(callback)  # before it is done: it runs on the engine's thread
    assert future.result(timeout=60)
    assert engine.submit("w2").result(timeout=60)
    assert logged in caplog.text


def test_interrupted_submission_does_not_stop_later_answers(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(instances=1)
    submit = engine._submit

    def interrupted(*arguments: Any) -> None:
        submit(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.submit("w1")
    assert engine.submit("w2").result(timeout=60)


def test_close_completes_what_waits(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1)
    futures = [engine.submit(LONG_TEXT) for _ in range(3)]
    engine.close()
    assert all(future.done() for future in futures)
    assert all(future.result().label for future in futures)
    for call in (lambda: engine.predict(["w1"]), lambda: engine.submit("w1"), lambda: engine.predict([])):
        with pytest.raises(ClosedError, match="closed"):
            call()
    engine.close()


def test_close_without_draining_drops_what_was_not_begun(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1)
    futures = [engine.submit(LONG_TEXT) for _ in range(20)]
    engine.close(drain=False)
    errors = [future.exception(timeout=0) for future in futures]
    assert all(error is None or isinstance(error, ClosedError) for error in errors)
    assert isinstance(errors[-1], ClosedError)
    assert sum(error is None for error in errors) < len(errors) / 2  # what was begun: one text at a time


def test_close_lets_calls_of_other_threads_finish(make_engine: MakeEngine, texts: list[str]) -> None:
    engine = make_engine(instances=2, batch_tokens=20)
    expected = engine.embed(texts)
    answers: list[bool] = []
    begun = threading.Barrier(4)

    def call() -> None:
        begun.wait()
        try:
            answers.append(np.array_equal(engine.embed(texts), expected))
        except ClosedError:  # came after close(): refused as a whole
            answers.append(True)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    engine.close()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == [True] * 3


def test_close_from_a_callback(make_engine: MakeEngine) -> None:
    engine = make_engine()
    closed = threading.Event()
    future = engine.submit("w1")
    future.add_done_callback(lambda _: (engine.close(), closed.set()))
    assert closed.wait(timeout=60)
    with pytest.raises(ClosedError):
        engine.predict(["w1"])


def test_block_that_fails_closes_without_computing_what_waits(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1)
    futures = [engine.submit(LONG_TEXT) for _ in range(10)]
    with pytest.raises(ZeroDivisionError), engine:
        1 // 0  # noqa: B018 - failing is all it is for
    assert isinstance(futures[-1].exception(timeout=0), ClosedError)


def test_forgotten_engine_answers_its_futures_and_leaves_no_thread(make_engine: MakeEngine) -> None:
    make_engine().predict(["w1"])  # whatever starts threads once
    before = len(os.listdir("/proc/self/task"))
    plan_and_native = make_engine()
    future = Engine(
        plan_and_native._native, plan_and_native._plan, plan_and_native._texts._tokenizer, instances=3
    ).submit("w1 w2 w3")
    assert future.result(timeout=60)
    del future
    plan_and_native.close()
    deadline = time.monotonic() + 20
    while len(os.listdir("/proc/self/task")) > before and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) <= before


def test_fork_with_an_engine_open() -> None:
    """The child gets a clear error from every call, may make an engine of its own, and the parent goes on."""
    output = run_script("""
pending = engine.submit(texts[0])
pending.result()
for _ in range(5):
    flying = [engine.submit(text) for text in texts]
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        calls = [lambda: engine.predict(texts), lambda: engine.submit("w1"), engine.close, engine.__enter__().close]
        right = True
        for call in calls:
            try:
                call()
                right = False
            except ForkError as error:
                right = right and "make a new one in the child" in str(error)
        unanswered = [future for future in flying if not future.done()]
        for future in unanswered:
            try:
                future.result(timeout=10)
                right = False
            except ForkError:
                pass
        del engine, flying, unanswered
        with make() as own:
            right = right and np.array_equal(own.embed(texts[:1]), expected[:1])
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(future.result(timeout=30) for future in flying)
assert np.array_equal(engine.embed(texts), expected)
engine.close()
print("done")
""")
    assert output == "done\n"


def test_child_that_exits_normally_with_the_parents_engine_open() -> None:
    output = run_script("""
child = os.fork()
if child == 0:
    signal.alarm(30)
    sys.exit(0)  # runs finalizers and exit handlers
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
""")
    assert output == "done\n"


@pytest.mark.parametrize("end", ["", "sys.exit()", "engine.close()", "del engine"])
def test_interpreter_exit_with_work_queued(end: str) -> None:
    begin = time.monotonic()
    run_script(f"""
slow_plan = random_plan(layers=4, hidden=512, heads=0, intermediate=2048, max_tokens=2048)
slow_native = NativeEncoder(slow_plan.to_dict(), random_tensors(slow_plan))
slow = Engine(slow_native, slow_plan, word_tokenizer(), instances=2)
futures = [slow.submit(" ".join(["w7"] * 2000)) for _ in range(100)]
def predict():
    try:
        slow.predict(["w7 " * 2000] * 200)
    except ClosedError:
        pass
threading.Thread(target=predict, daemon=True).start()
time.sleep(0.05)
{end}
""")
    assert time.monotonic() - begin < 30


def test_interrupt_while_waiting_is_a_keyboard_interrupt_and_the_engine_goes_on() -> None:
    output = run_script("""
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
deadline = time.monotonic() + 30
try:
    while time.monotonic() < deadline:
        engine.embed(texts)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", np.array_equal(engine.embed(texts), expected))
engine.close()
""")
    assert output == "interrupted True\n"


def test_idle_engine_uses_no_cpu() -> None:
    output = run_script("""
assert engine.submit("w1").result()
time.sleep(0.1)
before = time.process_time()
time.sleep(2)
print((time.process_time() - before) / 2)
""")
    assert float(output) < 0.005


def test_interpreter_runs_on_while_an_instance_computes(make_slow_engine: MakeEngine) -> None:
    engine = make_slow_engine(instances=1)
    future = engine.submit(LONG_TEXT)
    ticks = 0
    while not future.done():
        ticks += 1
        time.sleep(0.001)
    assert ticks > 5
