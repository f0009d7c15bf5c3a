# SPDX-License-Identifier: MIT
"""Starts a contestant's process and talks to it; it is blocked on its input whenever it is not its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.kernels.contestants import Contestant

REPOSITORY = Path(__file__).resolve().parents[2]


class ContestantError(RuntimeError):
    """A contestant could not run a cell; the message is the library's own."""


class ContestantProcess:
    """One contestant with its own interpreter, thread count and cores.

    Example:
        >>> with ContestantProcess(by_name("torch_fp32"), threads=1, cores=[0]) as process:  # doctest: +SKIP
        ...     process.ask("load")
    """

    def __init__(self, contestant: Contestant, threads: int, cores: Sequence[int]) -> None:
        self.name = contestant.name
        environment = {**os.environ, **contestant.environment, "OPENBLAS_NUM_THREADS": "1"}
        environment |= {variable: str(threads) for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        search = [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(search)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bench.kernels.worker",
                contestant.name,
                str(threads),
                ",".join(map(str, cores)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=REPOSITORY,
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
