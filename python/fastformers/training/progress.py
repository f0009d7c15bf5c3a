# SPDX-License-Identifier: MIT
"""Shows how far training has come: a bar with loss, score and time left on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["ProgressCallback", "Shown", "showing"]

#: Called with (stage, steps done, steps in all), after each step.
ProgressCallback = Callable[[str, int, int], None]
#: Called with (steps done, mean loss since the last evaluation, last score), after each step.
Shown = Callable[[int, float, "float | None"], None]

_STAGE = "train"
_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def showing(
    progress: ProgressCallback | bool | None, steps: int, first_step: int, console: Console | None = None
) -> Iterator[Shown]:
    """Yields what to call after each step.

    Args:
        progress: the caller's own callback, True for the terminal, False or None for silence.
        steps: steps in all.
        first_step: steps done before this run, which say nothing about the time left.
        console: where to write; standard error if ``None``.
    """
    if callable(progress):
        yield lambda step, loss, score: progress(_STAGE, step, steps)
        return
    if not progress:
        yield lambda step, loss, score: None
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, steps, first_step)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(_STAGE, total=steps, completed=first_step, state="")
        yield lambda step, loss, score: bar.update(task, completed=step, state=_state(loss, score))


class _Lines:
    """A line now and then, and one at the end."""

    def __init__(self, console: Console, steps: int, first_step: int) -> None:
        self._console = console
        self._steps = steps
        self._first_step = first_step
        self._start = self._last = time.monotonic()

    def __call__(self, step: int, loss: float, score: float | None) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES and step < self._steps:
            return
        self._last = now
        left = (now - self._start) / max(1, step - self._first_step) * (self._steps - step)
        self._console.print(
            f"{_STAGE}: step {step} of {self._steps}, {_state(loss, score)}, {_clock(left)} left",
            highlight=False,
            soft_wrap=True,
        )


def _state(loss: float, score: float | None) -> str:
    return f"loss {loss:.4f}" + ("" if score is None else f", score {score:.2f}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
