# SPDX-License-Identifier: MIT
"""Processor time of this process and all that it started, in seconds: what an estimate multiplies with watts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PROC", "family_cpu_seconds"]

PROC = Path("/proc")
# Places in /proc/PID/stat after the command's closing bracket.
_PARENT, _TIMES = 1, slice(11, 15)


def family_cpu_seconds(proc: Path = PROC) -> float:
    """Returns user and system time of this process, of its children that live, and of those it has waited for.

    Args:
        proc: where the kernel shows processes.

    Returns:
        Seconds. A child's time moves from the living to the dead when it is waited for, so that differences hold.
    """
    own = os.getpid()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    reaped = os.times()
    living = sum(_descendants(dict(_processes(proc)), own))
    return time.process_time() + reaped.children_user + reaped.children_system + living * tick


def _processes(proc: Path) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yields (process, (parent, ticks of itself and of the children it has waited for))."""
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (
                (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:  # it ended meanwhile
            continue
        yield int(folder.name), (int(fields[_PARENT]), sum(map(int, fields[_TIMES])))


def _descendants(processes: dict[int, tuple[int, int]], ancestor: int) -> Iterator[int]:
    """Yields the ticks of each process below ``ancestor``."""
    for process, (parent, ticks) in processes.items():
        if parent == ancestor:
            yield ticks
            yield from _descendants(processes, process)
