# SPDX-License-Identifier: MIT
"""``bench/compare.py``: alarms on what is slower beyond the noise, and on nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMPARE = Path(__file__).resolve().parents[2] / "bench" / "compare.py"


def compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(COMPARE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def table(seconds: list[float], ceiling: float = 400.0, peer: float = 1e-3) -> dict[str, Any]:
    """A file of bench.kernels.run with one cell; our call and our kernel take the same time."""
    readings = {
        "fastformers": [{"seconds": s} for s in seconds],
        "fastformers/kernel": [{"seconds": s, "ceiling_gops": ceiling} for s in seconds],
        "torch_fp32": [{"seconds": peer} for _ in seconds],
    }
    return {"cells": [{"threads": 1, "group": "base", "N": 768, "K": 768, "M": 64, "readings": readings}]}


def pytest_file(median: float, spread: float, **extra: float) -> dict[str, Any]:
    stats = {"median": median, "q1": median * (1 - spread), "q3": median * (1 + spread), "rounds": 100}
    return {"benchmarks": [{"fullname": "test_linear[x]", "stats": stats, "extra_info": extra}]}


@pytest.fixture
def files(tmp_path: Path) -> Any:
    def write(old: object, new: object) -> tuple[Path, Path]:
        paths = tmp_path / "old.json", tmp_path / "new.json"
        for path, document in zip(paths, (old, new), strict=True):
            path.write_text(json.dumps(document), encoding="utf-8")
        return paths

    return write


def test_slower_cell_is_named_and_exits_3(files: Any) -> None:
    result = compare(*files(table([1.0, 1.01, 0.99]), table([1.1, 1.11, 1.09])))
    assert result.returncode == 3
    assert "2 cells compared: 2 slower, 0 faster" in result.stdout
    assert "fastformers/kernel 768 x 768 M=64 threads=1" in result.stdout
    assert "10.0%" in result.stdout


def test_same_speed_exits_0(files: Any) -> None:
    result = compare(*files(table([1.0, 1.01, 0.99]), table([1.03, 1.04, 1.02])))
    assert result.returncode == 0
    assert "0 slower, 0 faster" in result.stdout


def test_faster_cell_exits_0(files: Any) -> None:
    result = compare(*files(table([1.1, 1.11, 1.09]), table([1.0, 1.01, 0.99])))
    assert result.returncode == 0
    assert "0 slower, 2 faster" in result.stdout


def test_median_within_the_spread_is_no_alarm(files: Any) -> None:
    noisy = table([0.7, 1.0, 1.3, 1.0, 1.35]), table([0.8, 1.1, 1.3, 1.1, 0.9])
    assert compare(*files(*noisy)).returncode == 0


def test_slower_machine_is_not_a_slower_kernel(files: Any) -> None:
    old, new = table([1.0, 1.01, 0.99], ceiling=400), table([1.25, 1.26, 1.24], ceiling=320)
    assert compare(*files(old, new)).returncode == 0


def test_slower_contestant_is_no_alarm(files: Any) -> None:
    assert compare(*files(table([1.0] * 3, peer=1e-3), table([1.0] * 3, peer=2e-3))).returncode == 0


def test_pytest_benchmark_files_are_compared(files: Any) -> None:
    slower = compare(*files(pytest_file(1.0, 0.01), pytest_file(1.2, 0.01)))
    assert slower.returncode == 3
    assert "test_linear[x]" in slower.stdout
    assert compare(*files(pytest_file(1.0, 0.2), pytest_file(1.2, 0.2))).returncode == 0


def test_ceiling_of_pytest_benchmark_files_counts(files: Any) -> None:
    old, new = pytest_file(1.0, 0.01, ceiling_gops=400.0), pytest_file(1.25, 0.01, ceiling_gops=320.0)
    assert compare(*files(old, new)).returncode == 0


def test_threshold_is_a_choice(files: Any) -> None:
    paths = files(table([1.0, 1.001, 0.999]), table([1.03, 1.031, 1.029]))
    assert compare(*paths).returncode == 0
    assert compare(*paths, "--threshold", "2").returncode == 3


def test_cells_of_one_file_only_are_counted(files: Any) -> None:
    old, new = table([1.0] * 3), table([1.0] * 3)
    new["cells"].append({**new["cells"][0], "M": 128})
    result = compare(*files(old, new))
    assert result.returncode == 0
    assert "only in new: 2 cells" in result.stdout


@pytest.mark.parametrize(
    ("document", "words"), [({"x": 1}, "is neither a file of"), ({"cells": []}, "no cell in common")]
)
def test_files_that_cannot_be_compared_exit_2(files: Any, document: dict[str, Any], words: str) -> None:
    result = compare(*files(document, table([1.0])))
    assert result.returncode == 2
    assert words in result.stderr


def test_missing_file_exits_2(tmp_path: Path) -> None:
    result = compare(tmp_path / "none.json", tmp_path / "none.json")
    assert result.returncode == 2
    assert "none.json" in result.stderr
