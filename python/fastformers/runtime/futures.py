# SPDX-License-Identifier: MIT
"""Futures of submitted requests, and the one thread that completes them.

Instances finish tickets without touching Python; a single thread sleeps in the core until some are finished, takes them
all at once and sets their futures. It starts with the first request and ends with the pool.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from fastformers.errors import ForkError
from fastformers.kernels import InstancePool, Ticket

__all__ = ["CompletionThread", "EngineFuture"]

_LOGGER = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Submit = Callable[[int], Ticket]
Finish = Callable[[list[Any]], Answer]


class EngineFuture(Future[Answer], Generic[Answer]):
    """A :class:`concurrent.futures.Future` that also knows that it cannot be completed in a forked child.

    ``cancel()`` takes the request out of the queue when no instance has begun it. Done-callbacks run on the engine's
    completion thread: keep them short. What one raises is logged and stops nothing, ``SystemExit`` included.
    """

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def result(self, timeout: float | None = None) -> Answer:
        """Waits for the answer; raises what the request raised, and ``ForkError`` in a forked child."""
        self._check_process()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits for the request's error, ``None`` for a success; ``ForkError`` in a forked child."""
        self._check_process()
        return super().exception(timeout)

    def _check_process(self) -> None:
        if os.getpid() != self._process and not self.done():
            raise ForkError(
                f"this request was made in process {self._process}, before the fork, and is answered only there"
            )


class CompletionThread:
    """Completes the futures of one pool.

    Args:
        pool: whose posted tickets it takes.
    """

    def __init__(self, pool: InstancePool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._tags = itertools.count()
        # A future, its answer's last step, and what must stay alive until then (the engine).
        self._open: dict[int, tuple[EngineFuture[Any], Finish[Any], object]] = {}
        self._thread: threading.Thread | None = None

    def submit(self, submit: Submit, finish: Finish[Answer], keep_alive: object) -> EngineFuture[Answer]:
        """Queues one request.

        Args:
            submit: queues the ticket under the tag given; what it raises is passed on.
            finish: makes the answer from the ticket's arrays; runs on the completion thread.
            keep_alive: held until the future is completed.
        """
        future: EngineFuture[Answer] = EngineFuture()
        tag = next(self._tags)
        self._start()
        self._open[tag] = (future, finish, keep_alive)
        try:
            ticket = submit(tag)
        except BaseException:
            del self._open[tag]
            raise
        future.add_done_callback(lambda done: self._take_back(done, ticket))
        return future

    def join(self) -> None:
        """Waits until every future is completed; the pool must have been stopped."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                # A daemon: at exit the interpreter ends the engine first (see Engine), not after a join of this thread.
                thread = threading.Thread(target=self._serve, name="fastformers-completion", daemon=True)
                thread.start()
                self._thread = thread

    def _take_back(self, future: Future[Any], ticket: Ticket) -> None:
        if future.cancelled():
            self._pool.cancel(ticket)

    def _serve(self) -> None:
        while finished := self._pool.take_finished():
            for ticket in finished:
                self._complete(ticket)
            del finished, ticket  # else the last answers would live until the next ones come

    def _complete(self, ticket: Ticket) -> None:
        opened = self._open.pop(ticket.tag, None)
        if opened is None:  # Ctrl-C came between queueing it and noting so: nobody has its future
            return
        future, finish, _keep_alive = opened
        if not future.set_running_or_notify_cancel():
            return
        try:
            answer = finish(ticket.result())
        except Exception as error:  # whatever it is belongs to the one who waits, not to this thread
            settle = partial(future.set_exception, error)
        else:
            settle = partial(future.set_result, answer)
        try:
            settle()
        except BaseException:
            # Of a callback: futures log errors themselves, but sys.exit() would end this thread, and with it all
            # later answers.
            _LOGGER.exception("a callback of %r ended with an exception that is no error", future)
