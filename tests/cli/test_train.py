# SPDX-License-Identifier: MIT
"""``fastformers train`` makes a model folder and prints its report; ``fastformers evaluate`` prints its scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import exit_status

from fastformers.cli.exit_codes import ExitCode

pytest.importorskip("torch", reason="train needs the train extra")
pytest.importorskip("accelerate", reason="train needs the train extra")

QUICK = ("--max-steps", 2, "--batch-size", 4, "--max-length", 16)


@pytest.fixture
def data(tmp_path: Path, example_texts: list[str]) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val"):
        rows = [{"text": text, "label": "cat" in text} for text in example_texts]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_the_trained_folder_is_evaluated(
    model_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    status = exit_status("train", "--model", model_folder, "--data", data, "-o", output, *QUICK, "--json")
    assert status == ExitCode.OK
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert "step 2 of 2" in printed.err
    assert report == json.loads((output / "train_log.json").read_text())
    assert exit_status("evaluate", output, "--data", data, "--json") == ExitCode.OK
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["score"] == report["score"]
    answers = tmp_path / "answers.jsonl"
    assert exit_status("evaluate", output, "--data", data, "--submission", answers) == ExitCode.OK
    assert f"{metrics['accuracy']:.4f}" in capsys.readouterr().out
    assert len(answers.read_text().splitlines()) == 24


def test_each_option_reaches_the_config(model_folder: Path, data: Path, tmp_path: Path) -> None:
    options = {
        "--epochs": 2.0,
        "--max-steps": 2,
        "--lr": 1e-3,
        "--batch-size": 4,
        "--accumulation": 2,
        "--weight-decay": 0.1,
        "--warmup": 0.2,
        "--max-grad-norm": 0.5,
        "--seed": 7,
        "--evaluate-every": 1,
        "--patience": 3,
        "--fixed-length": 16,
        "--device": "cpu",
        "--precision": "float32",
    }
    given = [word for pair in options.items() for word in pair]
    output = tmp_path / "out"
    assert exit_status("train", "--model", model_folder, "--data", data, "-o", output, *given) == ExitCode.OK
    config = json.loads((output / "train_log.json").read_text())["config"]
    renamed = {"--lr": "learning_rate"}
    for name, value in options.items():
        assert config[renamed.get(name, name[2:].replace("-", "_"))] == value, name


@pytest.mark.parametrize(("choice", "status"), [("drop", ExitCode.OK), ("error", ExitCode.USAGE)])
def test_an_example_whose_marked_word_is_cut_off_is_left_out_or_stops_the_training(
    choice: str, status: ExitCode, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"word": "cat", "sentence1": "the cat", "sentence2": "a cat", "start1": 4, "end1": 7}
    rows = [{**first, "start2": 2, "end2": 5, "idx": 0, "label": True}]
    long = f"the {'red ' * 20}cat"
    rows.append({**rows[0], "sentence1": long, "start1": len(long) - 3, "end1": len(long), "idx": 1})
    for split in ("train", "val"):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    given = (
        "--task",
        "wic",
        "--data",
        tmp_path,
        "-o",
        tmp_path / "out",
        "--max-steps",
        1,
        "--max-length",
        12,
    )
    assert exit_status("train", "--model", model_folder, *given, "--lost-spans", choice) == status
    if choice == "error":
        assert "loses a marked span" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_report_is_text_and_says_where_the_result_is(
    model_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert exit_status("train", "--model", model_folder, "--data", data, "-o", output, *QUICK) == ExitCode.OK
    printed = capsys.readouterr().out.replace("\n", "")
    assert "custom: accuracy" in printed
    assert f"Saved in {output}" in printed


def test_a_malformed_line_is_a_bad_file_named_with_its_line(
    model_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "val.jsonl").write_text('{"text": "a cat", "label": true}\n{"text": "a cat"}\n')
    output = tmp_path / "out"
    status = exit_status("train", "--model", model_folder, "--data", data, "-o", output, *QUICK)
    assert status == ExitCode.BAD_FILE
    assert "val.jsonl line 2" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    "options", [("--lr", "2"), ("--task", "no-such"), ("--device", "tpu"), ("--epochs", "0")]
)
def test_wrong_choices_are_wrong_usage(
    model_folder: Path, data: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    output = tmp_path / "out"
    status = exit_status("train", "--model", model_folder, "--data", data, "-o", output, *options)
    assert status == ExitCode.USAGE
    assert not output.exists()


def test_data_that_is_no_folder_is_wrong_usage(
    model_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, reason in ((tmp_path / "none", "does not exist"), (data / "train.jsonl", "is a file")):
        status = exit_status("train", "--model", model_folder, "--data", wrong, "-o", tmp_path / "out")
        assert status == ExitCode.USAGE
        assert reason in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_the_hub_asks_for_its_extra(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    status = exit_status("train", "--model", model_folder, "--data", "hub", "--task", "rte", "-o", "out")
    assert status == ExitCode.MISSING_EXTRA
    assert "[hub]" in capsys.readouterr().err


def test_missing_extra_is_named(
    model_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    output = tmp_path / "out"
    status = exit_status("train", "--model", model_folder, "--data", data, "-o", output, *QUICK)
    assert status == ExitCode.MISSING_EXTRA
    assert "fastformers-cpu[train]" in capsys.readouterr().err
