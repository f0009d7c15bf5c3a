# SPDX-License-Identifier: MIT
"""The grid of whole encoders: the limit's arithmetic, figures to reach, marks of misses, and one small real run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_documents import bench_document


@pytest.fixture
def grid(bench_module: Callable[[str], Any]) -> Callable[[str], Any]:
    """Imports a module of bench/workloads/encoder by its name."""
    return lambda name: bench_module(f"workloads.encoder.{name}")


# A cell of 128 tokens of bert-base: 2 x 84,934,656 x 128 + 4 x 12 x 768 x 128 x 128 operations.
LINEAR, ATTENTION = 21_743_271_936, 603_979_776


def cell(milliseconds: float, static: float, dynamic: float, **more: Any) -> dict[str, Any]:
    """bert-base, 128 tokens: our time, and how many times longer two others take; ceilings 400 and 100."""
    seconds = milliseconds / 1e3
    ours = {"seconds": seconds, "ceiling_gops": 400.0, "ceiling_gflops": 100.0}
    readings = {
        "fastformers": [ours] * 3,
        "openvino_int8_calibrated": [{"seconds": seconds * static}] * 3,
        "onnxruntime_int8_plain": [{"seconds": seconds * dynamic}] * 3,
    }
    place = {"model": "bert-base", "rows": "first", "batch": "b1s128", "lengths": [128], "threads": 1}
    cosine = {"fastformers": 0.9995, "openvino_int8_calibrated": 0.997, "onnxruntime_int8_plain": 0.998}
    return {**place, "cosine": cosine, "readings": readings, "errors": {}, **more}


def document(*cells: dict[str, Any]) -> dict[str, Any]:
    return bench_document("bench.workloads.encoder.run", {"ctranslate2_int8": "not installed"}, cells)


def test_limit_counts_linear_layers_and_attention_products(grid: Any) -> None:
    shape = grid("shapes").shape_named("bert-base")
    assert shape.weights == 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert shape.linear_operations([128]) == LINEAR
    assert shape.attention_operations([128]) == ATTENTION
    limit = LINEAR / 400e9 + ATTENTION / 100e9
    share = grid("results").percent_of_limit(cell(2e3 * limit, 1.5, 1.5))
    assert share.median == pytest.approx(50)


def test_pruned_heads_count_as_they_are(grid: Any) -> None:
    pruned = grid("shapes").shape_named("tinybert-pruned")
    assert pruned.weights == 4 * (4 * 312 * 208 + 2 * 312 * 600)
    assert pruned.attention_operations([10, 20]) == 4 * 4 * 208 * (100 + 400)


def test_grid_has_eighty_cells_for_each_head(grid: Any) -> None:
    cells, shapes = grid("cells"), grid("shapes")
    names = [shape.name for shape in shapes.SHAPES]
    every = [one for threads in (1, 2) for one in cells.grid(names, list(cells.BATCHES), cells.ROWS, threads)]
    assert len(every) == len(set(every)) == 160
    assert sum(cells.BATCHES["b8mix"]) == 416


def test_token_ids_of_a_cell_are_the_same_in_every_run(grid: Any) -> None:
    cells = grid("cells")
    one = cells.GridCell("minilm", "first", "b8mix", 1)
    assert one.sequences() == cells.GridCell("tinybert", "all", "b8mix", 2).sequences()
    assert [len(ids) for ids in one.sequences()] == list(one.lengths)


@pytest.mark.parametrize(
    ("lengths", "rows", "threads", "figure"),
    [
        ([16], "first", 1, 80.0),
        ([64], "first", 1, 95.0),
        ([128] * 8, "first", 1, 95.0),
        ([256], "first", 1, 108.0),
        ([512], "first", 2, None),
        ([32], "all", 1, None),
        ([512], "all", 1, 88.0),
    ],
)
def test_figures_follow_the_length(
    grid: Any, lengths: list[int], rows: str, threads: int, figure: float | None
) -> None:
    place = {"lengths": lengths, "rows": rows, "threads": threads}
    assert grid("results").percent_to_reach(place) == figure


def test_best_other_engine_is_chosen_by_kind(grid: Any) -> None:
    results = grid("results")
    one = cell(60.0, static=1.3, dynamic=1.6)
    assert results.best_peer(one) == "openvino_int8_calibrated"
    assert results.best_peer(one, results.DYNAMIC) == "onnxruntime_int8_plain"
    assert results.ratio_to_reach(one) == 1.2
    assert results.ratio_to_reach({"lengths": [512]}) == 1.0


def test_report_marks_what_misses_its_figure(grid: Any) -> None:
    long = {"batch": "b1s512", "lengths": [512]}
    text = grid("report").report(document(cell(70.0, 1.1, 1.4), cell(300.0, 1.1, 1.6, **long)))
    assert "| bert-base | 1.10 ✗1.2 | 1.10 |" in text
    assert "| bert-base | 1.40 ✗1.5 | 1.60 |" in text
    assert "Geometric mean: **1.10** ✗ (to reach: 1.5)" in text
    assert "86.3 ✗95" in text
    assert "Not measured: ctranslate2_int8 (not installed)." in text
    assert "| fastformers | ours | **70.0** (0) | **300.0** (0) |" in text


def test_report_marks_a_cosine_below_the_figure(grid: Any) -> None:
    worse = cell(50.0, 2.0, 2.0, cosine={"fastformers": 0.9985, "onnxruntime_int8_plain": 0.99})
    text = grid("report").report(document(cell(50.0, 2.0, 2.0), worse))
    assert "| fastformers | ours | 0.99850 ✗0.999 |" in text
    assert "| onnxruntime_int8_plain | dynamic INT8 | 0.99000 |" in text


def test_report_tells_failures_and_heads_that_read_all_rows(grid: Any) -> None:
    every = cell(80.0, 1.0, 1.0, rows="all", errors={"ctranslate2_int8": "ctranslate2_int8: no head"})
    every["readings"] = {"fastformers": every["readings"]["fastformers"]}
    text = grid("report").report(document(every))
    assert "all rows read, 1 thread" in text
    assert "Failed: ctranslate2_int8: no head." in text
    assert "Times faster" not in text


def test_readme_has_the_markers(grid: Any, repository: Path) -> None:
    report = grid("report")
    text = (repository / "bench" / "workloads" / "encoder" / "README.md").read_text(encoding="utf-8")
    assert text.index(report.BEGIN) < text.index(report.END)


def test_every_engine_is_a_contestant_in_a_file_of_its_own(grid: Any) -> None:
    from fastformers.benchmarking.engines import ENGINES

    entries = grid("contestants").ENTRIES
    assert {entry.name for entry in entries} == {engine.name for engine in ENGINES}
    assert len({entry.name for entry in entries}) == len(entries)
    assert [entry.name for entry in entries if entry.all_rows] == ["fastformers"]


def test_pruned_model_computes_with_its_own_heads(grid: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    source = grid("models").RandomModel("tinybert-pruned first", tmp_path)
    model, again = source.torch_model(), source.torch_model()
    assert model.bert.encoder.layer[0].attention.self.query.weight.shape == (208, 312)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[101, 2000, 102]])).logits
    assert logits.shape == (1, 8)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0.1


@pytest.mark.slow
def test_small_run_measures_and_resumes(grid: Any, repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "grid.json"
    small = ["--models", "tinybert-pruned", "--batches", "b1s16", "b8mix", "--rows", "first", "--rounds", "2"]
    contestants = ["--contestants", "torch_fp32", "torch_dynamic_x86", "--block-ms", "1", "--json", str(path)]
    command = [sys.executable, "-m", "bench.workloads.encoder.run", *small, *contestants]
    first = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    measured = json.loads(path.read_text(encoding="utf-8"))
    assert [one["batch"] for one in measured["cells"]] == ["b1s16", "b8mix"]
    for one in measured["cells"]:
        assert not one["errors"]
        assert one["cosine"]["torch_fp32"] == pytest.approx(1)
        assert 0.99 < one["cosine"]["torch_dynamic_x86"] < 1
        assert {len(rounds) for rounds in one["readings"].values()} == {2}
    assert "### Milliseconds, 1 thread" in grid("report").report(measured)

    del measured["cells"][0]
    path.write_text(json.dumps(measured), encoding="utf-8")
    resumed = subprocess.run(
        [*command, "--resume"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert len(resumed.stdout.splitlines()) == 1
