# SPDX-License-Identifier: MIT
"""Runs one part as a process group of its own: stopped when its time is over, its words kept in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "run_for"]

_GRACE_SECONDS = 5.0
_KEPT_LINES = 20


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: exit status; None when it was stopped.
        seconds: that it ran.
        last_lines: of what it wrote.
    """

    status: int | None
    seconds: float
    last_lines: list[str]


def run_for(
    minutes: float, command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> Ended:
    """Runs a command, and ends it and all that it started when its minutes are over or this process is interrupted.

    Args:
        minutes: that it may take.
        command: program and words.
        folder: to run in.
        log: file for what it writes; replaced.
        environment: of the process.
    """
    start = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
    return Ended(status, time.monotonic() - start, _last_lines(log))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of the process's group: asked first, killed if that does not help."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)  # the group has the number of its first process
        except ProcessLookupError:
            break
        end = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < end and _alive(process):
            time.sleep(0.02)
    process.wait()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # so that the first process is no zombie that keeps its group
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _last_lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_KEPT_LINES:]
