# SPDX-License-Identifier: MIT
"""A short soak, within the bounds of the long one; in a process of its own, so that only the engine's memory counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def soak(bench_module: Callable[[str], Any]) -> Any:
    """The module bench/soak/run.py."""
    return bench_module("soak.run")


@pytest.mark.slow
def test_twenty_thousand_requests_leave_nothing_behind(repository: Path, tmp_path: Path) -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "bench.soak.run", "--requests", "20000", "--cycles", "40"),
            *("--idle-seconds", "2", "--json", str(tmp_path / "soak.json")),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert json.loads((tmp_path / "soak.json").read_text())["requests"] == 20000


def test_bounds(soak: Any) -> None:
    good = soak.Report(
        requests=100,
        requests_per_second=1.0,
        wrong_answers=0,
        bytes_at_5_percent=50_000_000,
        bytes_at_end=55_000_000,
        cycles=10,
        bytes_after_some_cycles=50_000_000,
        bytes_after_cycles=55_000_000,
        threads_after_some_cycles=3,
        threads_after_cycles=3,
        idle_cpu=0.0049,
    )
    assert good.missed() == []
    assert "serving" in replace(good, bytes_at_end=55_000_001).missed()[0]
    assert "cycles" in replace(good, bytes_after_cycles=55_000_001).missed()[0]
    assert "threads" in replace(good, threads_after_cycles=4).missed()[0]
    assert "idle CPU is 0.50 %" in replace(good, idle_cpu=0.005).missed()[0]
    assert "1 answers differ" in replace(good, wrong_answers=1).missed()[0]
