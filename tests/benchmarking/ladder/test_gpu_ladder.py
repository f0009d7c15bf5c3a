# SPDX-License-Identifier: MIT
"""The rows of a GPU ladder, run on a CPU with small models; and what is said without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ladder_models import save_span_task
from tiny_models import save_checkpoint, word_pieces

import fastformers as ff
from fastformers.benchmarking.ladder.forms import FORMS
from fastformers.benchmarking.ladder.report import LadderReport
from fastformers.benchmarking.ladder.run import climb, systems_of
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.errors import ConfigError, DeviceError
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.recipes.scoring import score_model
from fastformers.tasks import TaskFile, build_model, get_task, load_examples

Quick = Callable[..., LadderSettings]
NO_GPU = not torch.cuda.is_available()


def silent(_: str) -> None: ...


def climbed(
    folders: dict[str, Path], data: Path, out: Path, settings: LadderSettings, **options: Any
) -> LadderReport:
    systems = systems_of(
        teacher=folders["teacher"], students=[folders["student"]], pruned=[folders["pruned"]], data=data
    )
    return climb(systems, out, settings, tell=silent, form=FORMS["cuda"], **options)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ladder")


@pytest.fixture(scope="module")
def report(folders: dict[str, Path], data: Path, out: Path) -> LadderReport:
    settings = LadderSettings(rounds=3, threads=1, batch_size=16, comparisons=True, energy="off", price=2.0)
    return climbed(folders, data, out, settings)


def test_rows_climb_from_padded_float32_to_pruned_in_half(report: LadderReport) -> None:
    assert [(row.name, row.kind, row.against) for row in report.rows] == [
        ("PyTorch, padded", "batches", ""),
        ("dynamic length", "batches", "PyTorch, padded"),
        ("similar lengths together", "batches", "dynamic length"),
        ("distilled student", "batches", "similar lengths together"),
        ("half precision", "batches", "distilled student"),
        ("pruned", "batches", "half precision"),
    ]


def test_rows_beside_it_differ_by_one_choice(report: LadderReport) -> None:
    assert [(row.name, row.against) for row in report.comparisons] == [
        ("half, eager attention", "half precision"),
        ("teacher, half precision", "similar lengths together"),
        ("pruned, not filled up", "pruned"),
    ]


def test_scores_in_half_are_those_of_the_half_models(
    report: LadderReport, folders: dict[str, Path], data: Path, out: Path
) -> None:
    opened = open_model(folders["teacher"])
    examples = load_examples(opened.required_task().task, data, "val")
    scores = {row.name: row.score for row in (*report.rows, *report.comparisons)}
    in_float = [scores[name] for name in ("PyTorch, padded", "dynamic length", "similar lengths together")]
    assert in_float == [score_model(opened, examples).score] * 3
    assert scores["teacher, half precision"] == pytest.approx(in_float[0], abs=2.5)  # one of 40 answers
    known = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert sum(", float16 " in key for key in known) == 4


def test_the_first_row_computes_padding_and_the_method_says_how(report: LadderReport) -> None:
    assert "in batches of 16 texts" in report.method
    assert "every row once as a whole" in report.method
    assert all(row.paper_speedup is None for row in report.rows)
    assert "filled up to 24 tokens" in report.rows[0].meaning
    assert "step:" in str(report)


def test_half_takes_less_memory_than_float32(report: LadderReport) -> None:
    memory = {row.name: row.memory_mb for row in report.rows}
    assert memory["half precision"] < 0.6 * memory["distilled student"]  # ids of positions stay 8 bytes each


def test_a_round_holds_whole_batches_of_all_texts(report: LadderReport, out: Path) -> None:
    lines = [json.loads(line) for line in (out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    assert {line["queries"] for line in lines} == {40}
    assert {len(line["alone"]) for line in lines} == {40}


def test_of_many_texts_few_are_timed_alone(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastformers.benchmarking.ladder import rounds

    monkeypatch.setattr(rounds, "_ALONE_OF_LARGE_BATCHES", 4)
    found = climbed(folders, data, tmp_path, quick(batch_size=8, most_texts=20, comparisons=True))
    assert {row.kind for row in (*found.rows, *found.comparisons)} == {"batches"}
    assert found.rows[0].latency_ms.count == found.rows[0].queries_per_second.count * 4
    assert found.rows[0].extrapolated
    assert found.rows[0].total_interval is None
    assert "extrapolated from 20." in str(found)


def test_rows_of_a_cpu_and_of_a_gpu_are_not_mixed(
    folders: dict[str, Path], data: Path, tmp_path: Path, quick: Quick
) -> None:
    climbed(folders, data, tmp_path, quick(batch_size=8, most_texts=8))
    with pytest.raises(ConfigError, match="another ladder"):
        ff.ladder(
            tmp_path,
            teacher=folders["teacher"],
            students=[folders["student"]],
            pruned=[folders["pruned"]],
            data=data,
            settings=quick(batch_size=8, most_texts=8),
            tell=silent,
        )


def test_texts_with_marked_spans_climb_too(tmp_path: Path, quick: Quick) -> None:
    words = save_span_task(tmp_path)
    tokenizer, task = word_pieces(words), get_task("wic")
    checkpoint = save_checkpoint(tmp_path / "base", tokenizer, num_hidden_layers=1)
    save_model(build_model(task, checkpoint, seed=0), tmp_path / "teacher", tokenizer, TaskFile(task, 24))
    systems = systems_of(teacher=tmp_path / "teacher", data=tmp_path)
    report = climb(systems, tmp_path / "out", quick(batch_size=8), tell=silent, form=FORMS["cuda"])
    assert [row.name for row in report.rows][-1] == "half precision"
    assert all(row.score is not None for row in report.rows)


@pytest.mark.skipif(not NO_GPU, reason="torch sees a GPU here")
def test_without_a_gpu_it_is_said_what_is_missing(folders: dict[str, Path], data: Path) -> None:
    with pytest.raises(DeviceError, match=r"built without CUDA|sees no GPU"):
        LadderSettings(device="cuda")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"device": "tpu"}, "allowed: cpu, cuda"),
        ({"device": "cuda", "instances": 1}, "instances is for rows on a CPU"),
        ({"device": "cuda", "baseline_sample": 60}, "most_texts"),
        ({"device": "cuda", "padded_length": 512}, "cuts them"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_that_do_not_fit_the_device_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LadderSettings(**fields)


@pytest.mark.skipif(NO_GPU, reason="needs a GPU that torch can use")
def test_on_a_gpu_the_ladder_names_it(folders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    report = ff.ladder(
        tmp_path,
        teacher=folders["teacher"],
        students=[folders["student"]],
        pruned=[folders["pruned"]],
        data=data,
        settings=LadderSettings(device="cuda", rounds=3, comparisons=True),
        tell=silent,
    )
    assert report.settings["batch_size"] == 256
    assert report.machine["gpu"]["name"] in str(report)
    assert all(row.score is not None for row in report.rows)
