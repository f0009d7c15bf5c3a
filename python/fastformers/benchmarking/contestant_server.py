# SPDX-License-Identifier: MIT
"""The other end of :mod:`fastformers.benchmarking.contestant_process`: answers commands, sleeps in between.

Reads one JSON command per line and answers each with one JSON line. It answers only when the library's own threads
have stopped spinning, so that they do not steal time from the contestant that comes next.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

__all__ = ["Action", "isolate", "serve"]

Action = Callable[..., dict[str, Any]]

_QUIET_SLICE_SECONDS = 0.002
_QUIET_SHARE = 0.1
_QUIET_TIMEOUT_SECONDS = 0.5


def serve(actions: Mapping[str, Action], commands: TextIO, answers: TextIO, *, threads: int) -> None:
    """Answers commands until the input ends; an exception becomes an answer that says it.

    Args:
        actions: name of a command -> what does it.
        commands: one JSON object per line; ``do`` names the action, the rest are its arguments.
        answers: where one JSON object per line goes.
        threads: with more than one, an answer waits until this process burns no CPU time.
    """
    for line in commands:
        command = json.loads(line)
        try:
            answer = actions[command.pop("do")](**command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        if threads > 1:
            _wait_until_quiet()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def isolate(cores: str) -> TextIO:
    """Pins the process to ``cores`` (``"0,1"``) and keeps its output for answers: what a library prints goes to stderr.

    Called before any library is imported, so that its threads see the cores.

    Returns:
        The stream for answers.
    """
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _wait_until_quiet() -> None:
    """Returns when this process has stopped burning CPU time (spinning workers), or after half a second."""
    deadline = time.perf_counter() + _QUIET_TIMEOUT_SECONDS
    while time.perf_counter() < deadline:
        burnt = time.process_time()
        time.sleep(_QUIET_SLICE_SECONDS)
        if time.process_time() - burnt < _QUIET_SHARE * _QUIET_SLICE_SECONDS:
            return
