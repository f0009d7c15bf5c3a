# SPDX-License-Identifier: MIT
"""Starts a contestant's process and talks to it; it is blocked on its input whenever it is not its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from fastformers.benchmarking.contestants import Contestant

__all__ = ["ContestantError", "ContestantProcess", "start_all"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class ContestantError(RuntimeError):
    """A contestant could not do what it was asked; the message is the library's own."""


class ContestantProcess:
    """One contestant with its own interpreter, thread count and cores.

    Args:
        contestant: who.
        worker: module to run; its ``main`` calls :func:`fastformers.benchmarking.contestant_server.serve`.
        threads: threads of the library.
        cores: logical CPUs to pin to.
        arguments: further words for the worker, after name, threads and cores.
        search: folders put in front of the process's ``PYTHONPATH``.

    Example:
        >>> with ContestantProcess(who, "bench.kernels.worker", 1, [0]) as process:  # doctest: +SKIP
        ...     process.ask("load")
    """

    def __init__(
        self,
        contestant: Contestant,
        worker: str,
        threads: int,
        cores: Sequence[int],
        *,
        arguments: Sequence[str] = (),
        search: Sequence[Path] = (),
    ) -> None:
        self.name = contestant.name
        environment = {**os.environ, **contestant.environment, "OPENBLAS_NUM_THREADS": "1"}
        environment |= {variable: str(threads) for variable in _THREAD_VARIABLES}
        places = [*map(str, search), *filter(None, [environment.get("PYTHONPATH")])]
        if places:
            environment["PYTHONPATH"] = os.pathsep.join(places)
        words = [contestant.name, str(threads), ",".join(map(str, cores)), *arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Sends one command and waits for its answer.

        Raises:
            ContestantError: the contestant refused, or its process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContestantError(f"{self.name}: its process ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContestantError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process and waits for it."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):  # a command that a dead process never read
                self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> ContestantProcess:
        """Returns the running process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self.close()


def start_all(
    contestants: Sequence[Contestant], start: Callable[[Contestant], ContestantProcess], stack: ExitStack
) -> tuple[dict[str, ContestantProcess], dict[str, str]]:
    """Starts one process per contestant and has it import its library.

    Args:
        contestants: whom to start.
        start: makes the process of a contestant.
        stack: ends the processes when it is closed.

    Returns:
        The processes that are ready, by name, and why the others are not.
    """
    processes: dict[str, ContestantProcess] = {}
    refused: dict[str, str] = {}
    for contestant in contestants:
        process = stack.enter_context(start(contestant))
        try:
            process.ask("load")
        except ContestantError as error:
            refused[contestant.name] = str(error)
        else:
            processes[contestant.name] = process
    return processes, refused
