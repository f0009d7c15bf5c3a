# SPDX-License-Identifier: MIT
"""The table of the INT8 linear layer: what the readings mean, how misses are marked, and one small real run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_documents import bench_document

from fastformers.benchmarking.contestants import by_name


@pytest.fixture
def bench(bench_module: Callable[[str], Any]) -> Callable[[str], Any]:
    """Imports a module of bench/kernels by its name."""
    return lambda name: bench_module(f"kernels.{name}")


def cell(rows: int, gops: float, peer_factor: float, threads: int = 1, **more: Any) -> dict[str, Any]:
    """A 768 x 768 cell at a ceiling of 400 GOP/s whose contestant takes ``peer_factor`` times our time."""
    seconds = 2 * rows * 768 * 768 / gops / 1e9
    kernel = {"seconds": seconds, "ceiling_gops": 400.0 * threads}
    readings = {
        "fastformers": [{"seconds": seconds}] * 3,
        "fastformers/kernel": [kernel | ({"read_gbps": 100.0} if rows == 1 else {})] * 3,
        "torch_fp32": [{"seconds": seconds * peer_factor * 1.5}] * 3,
        "onnxruntime_dynamic": [{"seconds": seconds * peer_factor}] * 3,
        **more,
    }
    cosine = dict.fromkeys((name for name in readings if "/" not in name), 0.9999)
    shape = {"threads": threads, "group": "base", "N": 768, "K": 768, "M": rows}
    return {**shape, "cosine": cosine, "readings": readings, "errors": {}}


def document(*cells: dict[str, Any]) -> dict[str, Any]:
    return bench_document("bench.kernels.run", {"torch_dynamic_x86": "torch not installed"}, cells)


def test_shapes_cover_the_four_families(bench: Any) -> None:
    shapes = bench("cases").load_shapes()
    assert {shape.group for shape in shapes} == {"base", "minilm", "tinybert", "pruned"}
    assert len(set(shapes)) == len(shapes) == 20
    assert {(312, 208), (234, 312), (768, 3072)} <= {(shape.columns, shape.depth) for shape in shapes}


def test_unknown_group_is_refused(bench: Any) -> None:
    with pytest.raises(ValueError, match=r"'bert'.*base, minilm, tinybert, pruned"):
        bench("cases").load_shapes(["bert"])


def test_every_group_and_row_count_has_a_figure_to_reach(bench: Any) -> None:
    cases, results = bench("cases"), bench("results")
    figures = {
        (shape.columns, shape.depth, rows): results.percent_to_reach(
            {"group": shape.group, "N": shape.columns, "K": shape.depth, "M": rows}
        )
        for shape in cases.load_shapes()
        for rows in cases.ROWS
    }
    assert len(figures) == 160
    assert figures[768, 768, 64] == 94
    assert figures[384, 384, 512] == 88
    assert figures[312, 208, 64] == 81
    assert figures[1200, 312, 32] == 79
    assert figures[1536, 384, 8] == 82
    assert figures[600, 312, 1] == 44


def test_percentage_is_taken_inside_the_round(bench: Any) -> None:
    slow_round = cell(64, gops=200.0, peer_factor=1.0)["readings"]["fastformers/kernel"][0]
    measured = cell(64, gops=380.0, peer_factor=1.0)
    measured["readings"]["fastformers/kernel"][1] = {**slow_round, "ceiling_gops": 200.0 / 0.95}
    share = bench("results").percent_of_ceiling(measured)
    assert (share.low, share.median, share.high) == pytest.approx((95, 95, 95))


def test_best_contestant_is_the_fastest_one_without_the_capped_pair(bench: Any) -> None:
    results = bench("results")
    capped = {"torch_fp32_avx2": [{"seconds": 1e-9}] * 3, "fastformers_avx2": [{"seconds": 1e-9}] * 3}
    measured = cell(64, gops=380.0, peer_factor=1.4, **capped)
    assert results.best_peer(measured) == "onnxruntime_dynamic"
    assert results.ratio_to(measured, "onnxruntime_dynamic").median == pytest.approx(1.4)


def test_report_marks_misses_and_names_the_figure(bench: Any) -> None:
    text = bench("report").report(document(cell(64, 360.0, 0.8), cell(128, 384.0, 1.5)))
    assert "| base | 768 x 768 | 90.0 ✗94 | 96.0 |" in text
    assert "| base | 768 x 768 | 0.80 ✗0.97 | 1.50 |" in text
    assert "1 of 2 cells reach their figure" in text
    assert "Geometric mean over the table: **1.10** (to reach: 1.35)" in text
    assert "Best contestant: onnxruntime_dynamic in 2 cells." in text
    assert "Not measured: torch_dynamic_x86 (torch not installed)." in text
    assert "Test CPU" in text


def test_report_tells_bandwidth_for_one_row(bench: Any) -> None:
    text = bench("report").report(document(cell(1, gops=160.0, peer_factor=2.0)))
    assert "| base | 768 x 768 | 576 KiB | 40.0 ✗44 | 80.0 |" in text


def test_report_tells_scaling_and_the_avx2_pair(bench: Any) -> None:
    alone = {"seconds": 2 * 128 * 768 * 768 / 380e9, "ceiling_gops": 400.0}
    two = cell(128, gops=684.0, peer_factor=1.2, threads=2, **{"fastformers/kernel_one_thread": [alone] * 3})
    avx2 = {"fastformers_avx2": [{"seconds": 1.0}] * 3, "torch_fp32_avx2": [{"seconds": 1.3}] * 3}
    text = bench("report").report(document(cell(128, 380.0, 1.2, **avx2), two))
    assert "### 2 threads over 1" in text
    assert "| base | 768 x 768 | 1.80 ✗1.85 |" in text
    assert "### AVX2 forced" in text
    assert "| base | 768 x 768 | 1.30 |" in text


def test_report_replaces_only_what_is_between_the_markers(bench: Any, tmp_path: Path) -> None:
    report = bench("report")
    readme, readings = tmp_path / "README.md", tmp_path / "k.json"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    readings.write_text(json.dumps(document(cell(64, 380.0, 1.5))), encoding="utf-8")
    for _ in range(2):
        assert report.main([str(readings), "--write", str(readme)]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{report.BEGIN}\n\nMade by")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit, match="needs the lines"):
        report.main([str(readings), "--write", str(readme)])


def test_readme_of_bench_has_the_markers(bench: Any, repository: Path) -> None:
    text = (repository / "bench" / "README.md").read_text(encoding="utf-8")
    assert text.index(bench("report").BEGIN) < text.index(bench("report").END)


def test_unknown_contestant_is_refused(bench: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown contestant 'x'.*fastformers, torch_fp32"):
        by_name(bench("contestants").ALL, "x")


def run_table(repository: Path, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    contestants = ["--contestants", "fastformers", "torch_fp32"]
    small = ["--groups", "pruned", "--rows", "1", "--rounds", "2", "--block-ms", "1", "--json", str(path)]
    command = [sys.executable, "-m", "bench.kernels.run", *contestants, *small, *more]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_small_run_measures_resumes_and_refuses_to_mix(bench: Any, repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "k.json"
    first = run_table(repository, path)
    assert first.returncode == 0, first.stderr
    measured = json.loads(path.read_text(encoding="utf-8"))
    assert len(measured["cells"]) == 8
    for one in measured["cells"]:
        assert not one["errors"]
        assert min(one["cosine"].values()) > 0.999
        assert {len(rounds) for rounds in one["readings"].values()} == {2}
        assert all(entry["seconds"] > 0 for rounds in one["readings"].values() for entry in rounds)
    assert "Times faster than the best contestant" in bench("report").report(measured)

    del measured["cells"][3]
    path.write_text(json.dumps(measured), encoding="utf-8")
    assert "add --resume" in run_table(repository, path).stderr
    resumed = run_table(repository, path, "--resume")
    assert resumed.returncode == 0
    assert len(resumed.stdout.splitlines()) == 1
    assert len(json.loads(path.read_text(encoding="utf-8"))["cells"]) == 8

    mixed = run_table(repository, path, "--resume", "--rounds", "3")
    assert mixed.returncode != 0
    assert "other settings than this run" in mixed.stderr
