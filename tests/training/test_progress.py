# SPDX-License-Identifier: MIT
"""Progress shows loss, score and time left: lines in a file, a bar on a terminal, nothing when not asked."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from fastformers.training import progress as progress_module
from fastformers.training.progress import showing
from fastformers.training.run_state import RunState


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``clock(12.5)`` sets the time."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_file_gets_a_line_now_and_then_and_one_at_the_end(clock: Callable[[float], None]) -> None:
    written = io.StringIO()
    with showing(True, 100, 20, Console(file=written, width=200)) as show:
        for step in range(21, 101):
            clock(step - 20)
            show(step, 1 / step, None if step < 60 else 71.25)
    assert written.getvalue().splitlines() == [
        "train: step 50 of 100, loss 0.0200, 0:00:50 left",
        "train: step 80 of 100, loss 0.0125, score 71.25, 0:00:20 left",
        "train: step 100 of 100, loss 0.0100, score 71.25, 0:00:00 left",
    ]


def test_a_terminal_gets_a_bar() -> None:
    written = io.StringIO()
    with showing(True, 4, 0, Console(file=written, width=100, force_terminal=True)) as show:
        show(2, 0.5, 66.5)
    assert "2/4" in written.getvalue()
    assert "loss 0.5000, score 66.50" in written.getvalue()


@pytest.mark.parametrize("silent", [None, False])
def test_silence_is_silent(silent: bool | None, capfd: pytest.CaptureFixture[str]) -> None:
    with showing(silent, 4, 0) as show:
        show(4, 0.5, 66.5)
    assert capfd.readouterr() == ("", "")


def test_the_score_shown_is_the_last_one_and_not_the_best() -> None:
    state = RunState()
    assert state.last_score is None
    for score in (30.0, 20.0):
        state.record(1.0, 1e-3, {"score": score})
    assert (state.last_score, state.score) == (20.0, 30.0)
