# SPDX-License-Identifier: MIT
"""``fastformers ladder``: a table on standard output, progress on standard error, statuses for what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import exit_status
from ladder_models import save_data, save_systems

from fastformers import kernels
from fastformers.benchmarking.ladder import instances, rounds, run
from fastformers.benchmarking.tune import Row
from fastformers.cli.exit_codes import ExitCode
from fastformers.runtime.tuning import Arrangement

CORES = kernels.default_threads()


@pytest.fixture(autouse=True)
def short_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading answers its texts once, as short as that is."""
    monkeypatch.setattr(rounds, "LEAST_SECONDS", 0.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    data = save_data(tmp_path_factory.mktemp("data"))
    folders = save_systems(tmp_path_factory.mktemp("models"), data)
    options = ("--teacher", "teacher"), ("--student", "student"), ("--pruned", "pruned")
    named = [part for option, name in options for part in (option, folders[name])]
    return [*named, "--data", data, "--rounds", 3, "--most-texts", 8, "--energy", "off"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of both runs: the second finds all rounds there."""
    return tmp_path_factory.mktemp("ladder") / "out"


def test_the_table_goes_to_standard_output_and_the_rest_does_not(
    models: list[object], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("ladder", *models, "--threads", 1, "-o", out) == ExitCode.OK
    printed = capsys.readouterr()
    assert "PyTorch, padded" in printed.out
    assert "preparing" not in printed.out
    assert "round 3 of 3" in printed.err
    assert exit_status("cost", out / "ladder.json", "--price", 0.5) == ExitCode.OK
    assert exit_status("plot", out / "ladder.json", "-o", out / "bars.png") == ExitCode.OK


def test_json_is_all_that_is_printed(
    models: list[object], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("ladder", *models, "--threads", 1, "-o", out, "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["schema"] == "fastformers-ladder/1"


@pytest.mark.parametrize("options", [(), ("--instances-table",)])
def test_an_interrupted_run_says_how_it_goes_on(
    models: list[object],
    options: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "climb", interrupted)
    monkeypatch.setattr(instances, "instances_table", interrupted)
    assert exit_status("ladder", *models, "-o", tmp_path, *options) != ExitCode.OK
    assert "the same command goes on after the last whole round" in capsys.readouterr().err


def test_every_split_of_the_cores_is_in_the_instances_table(
    models: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert exit_status("ladder", *models, "-o", out, "--instances-table", "--json") == ExitCode.OK
    rows = json.loads(capsys.readouterr().out)["rows"]
    arrangements = {(row["model"], row["mode"], row["instances"], row["threads"]) for row in rows}
    assert len(arrangements) == len(rows)
    for model in ("teacher", "pruned"):
        for mode in ("threads", "processes"):
            assert {(model, mode, CORES, 1), (model, mode, 1, CORES)} <= arrangements
        assert {goal for row in rows if row["model"] == model for goal in row["best"]} == {
            "throughput",
            "latency",
        }
    assert (out / "instances.md").read_text(encoding="utf-8").count("| processes |") == len(rows) // 2


def test_a_table_of_instances_is_priced_and_replaced_only_when_told_to(
    models: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_row(*_: object, **__: object) -> list[Row]:
        arrangement = Arrangement(instances=1, threads=1, batch_tokens=1)
        figures = {
            "texts_per_second": 1e8 / 3600,
            "p50_ms": 1.0,
            "p99_ms": 1.0,
            "memory_bytes": 1,
            "spread": 0.2,
        }
        return [Row(mode="threads", arrangement=arrangement, **figures)]

    monkeypatch.setattr(instances, "measure_arrangements", one_row)
    words = [
        "ladder",
        *models,
        "-o",
        tmp_path,
        "--instances-table",
        "--price",
        3,
        "--utilisation",
        0.5,
        "--json",
    ]
    assert exit_status(*words) == ExitCode.OK
    # 100 million queries in an hour of 3 USD, of which half is used; rounding of floats only
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["usd_per_100m"] for row in rows] == pytest.approx([6.0] * len(rows), rel=1e-12)
    table = (tmp_path / "instances.md").read_text(encoding="utf-8")
    assert "USD/100M" in table
    assert table.count("| 1 x 1 \\~ |") == len(rows)
    assert "\n~ The rounds spread over 10 %" in table
    assert exit_status(*words) == ExitCode.USAGE
    assert "--overwrite" in capsys.readouterr().err
    assert exit_status(*words, "--overwrite") == ExitCode.OK


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_a_gpu_that_is_not_there_is_status_1(
    models: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert exit_status("ladder", *models, "--device", "cuda", "-o", out) == ExitCode.FAILED
    assert "device is 'cuda', and torch" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "table3"], "needs data"),
        (["--instances", str(CORES + 1), "--preset", "table3"], f"ask for at most {CORES}"),
        (["--rounds", "1", "--preset", "table3"], "rounds is 1"),
        (["--most-texts", "1", "--preset", "table3"], "most_texts is 1; allowed: a whole number from 2"),
        ([], "needs one of recipe"),
        (
            ["--recipe", "/", "--recipe", "/", "--preset", "table3"],
            "--preset does not go with several recipes",
        ),
        (
            ["--recipe", "/", "--recipe", "/", "--instances-table"],
            "--instances-table does not go with several",
        ),
        (
            ["--preset", "table3", "--data", "/", "--instances-table", "--batch-size", "8"],
            "--batch-size is for a ladder",
        ),
        (["--device", "cuda", "--instances", "1", "--preset", "table3"], "for rows on a CPU"),
        (["--device", "cuda", "--baseline-sample", "60", "--preset", "table3"], "for rows on a CPU"),
    ],
)
def test_wrong_usage_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert exit_status("ladder", "-o", tmp_path / "out", *arguments) == ExitCode.USAGE
    assert message in capsys.readouterr().err
