# SPDX-License-Identifier: MIT
"""Tells the user how far a long operation has come: through a callback, or a bar on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

__all__ = ["ProgressCallback", "reporting"]

#: Called with (stage, steps done, steps in all).
ProgressCallback = Callable[[str, int, int], None]


@contextmanager
def reporting(progress: ProgressCallback | bool | None) -> Iterator[ProgressCallback]:
    """Yields a callback to report to.

    Args:
        progress: the caller's own callback, True for a bar on standard error, False or None for silence.
    """
    if callable(progress):
        yield progress
    elif progress:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            yield _Bar(bar)
    else:
        yield _silent


def _silent(stage: str, done: int, total: int) -> None:
    """Reports to nobody."""


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)
