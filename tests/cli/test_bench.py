# SPDX-License-Identifier: MIT
"""``fastformers bench``: engines side by side on a user's model, fidelity beside speed, absent engines named."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import exit_status

from fastformers.benchmarking import engine_comparison, engines
from fastformers.benchmarking.comparison import ComparisonSettings
from fastformers.benchmarking.comparison_pairs import Pair, PairProcesses
from fastformers.benchmarking.contestant_process import ContestantError
from fastformers.benchmarking.contestants import Contestant
from fastformers.cli.exit_codes import ExitCode

pytest.importorskip("torch", reason="bench needs the torch extra")
pytest.importorskip("transformers", reason="bench needs the torch extra")

SHORT = ("--lengths", "8", "--together", "3", "--rounds", "2", "--threads", "1")


def entries(document: dict[str, Any], engine: str) -> list[dict[str, Any]]:
    return [entry for entry in document["measured"] if entry["engine"] == engine]


@pytest.fixture
def absent_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Contestant("absent_int8", "x", ("no_such_package",), "openvino")
    monkeypatch.setitem(engines.FAMILIES, "absent", (absent,))


@pytest.mark.slow
def test_engines_are_timed_and_compared_with_float32(
    model_folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "bench.json"
    wanted = "torch_fp32,torch_dynamic_x86"
    status = exit_status(
        "bench", model_folder, "--engines", wanted, "--texts", texts, "--save", saved, *SHORT
    )
    assert status == ExitCode.OK
    document = json.loads(saved.read_text(encoding="utf-8"))
    assert document["lengths"].keys() == {"1 x 8", "3 mixed"}
    assert document["lengths"]["1 x 8"] == [8]
    assert [entry["cosine"] for entry in entries(document, "torch_fp32")] == pytest.approx([1, 1])
    quantized = entries(document, "torch_dynamic_x86")
    assert [entry["batch"] for entry in quantized] == ["1 x 8", "3 mixed"]
    assert all(0.9 < entry["cosine"] < 1 for entry in quantized)
    assert all(len(entry["seconds"]) == 2 and min(entry["seconds"]) > 0 for entry in quantized)
    printed = capsys.readouterr().out
    assert "torch_dynamic_x86" in printed
    assert "3 text(s)" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("absent_engine")
def test_absent_engine_is_named_with_its_extra_and_the_others_run(
    model_folder: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "bench",
        model_folder,
        "--engines",
        "absent,torch_dynamic_x86",
        "--texts",
        texts,
        "--json",
        *SHORT,
        "--lengths",
        "8,1000",
    )
    assert exit_status(*command) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (
        document["left_out"][f"{model_folder}: 1 x 1000"] == "the model or its tokenizer takes fewer tokens"
    )
    assert "no_such_package not installed" in document["left_out"]["absent_int8"]
    assert "fastformers-cpu[openvino]" in document["left_out"]["absent_int8"]
    assert not entries(document, "torch_fp32")  # the reference was not asked for: compared with, not timed
    assert all(0.9 < entry["cosine"] < 1 for entry in entries(document, "torch_dynamic_x86"))


@pytest.mark.usefixtures("absent_engine")
def test_no_engine_installed_exits_5(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("bench", model_folder, "--engines", "absent") == ExitCode.MISSING_EXTRA
    assert "fastformers-cpu[openvino]" in capsys.readouterr().err


def test_unknown_engine_is_wrong_usage(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("bench", model_folder, "--engines", "tensorflow") == ExitCode.USAGE
    assert "unknown contestant 'tensorflow': choose among torch_fp32" in capsys.readouterr().err


def test_more_threads_than_cores_is_wrong_usage(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("bench", model_folder, "--engines", "torch_fp32", "--threads", "5000")
    assert exit_status(*command) == ExitCode.USAGE
    assert "threads=5000" in capsys.readouterr().err


def test_length_beyond_all_texts_is_wrong_usage(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.txt"
    few.write_text("the cat\n", encoding="utf-8")
    command = ("bench", model_folder, "--engines", "torch_fp32", "--texts", few, "--lengths", "16")
    assert exit_status(*command) == ExitCode.USAGE
    assert "all texts together have 2 tokens" in capsys.readouterr().err


@pytest.mark.parametrize("lengths", ["long", "16,2"])
def test_lengths_that_are_no_lengths_are_wrong_usage(model_folder: Path, lengths: str) -> None:
    assert exit_status("bench", model_folder, "--lengths", lengths) == ExitCode.USAGE


def test_folder_without_a_model_is_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("bench", tmp_path, "--engines", "torch_fp32") == ExitCode.BAD_FILE
    assert "config.json" in capsys.readouterr().err


class _Process:
    """Answers as a contestant's process does; ends at the block given."""

    def __init__(self, ends_at: int | None) -> None:
        self.ends_at, self.blocks = ends_at, 0

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        if action == "prepare":
            np.save(arguments["answers"], np.ones((1, 2), np.float32))
            return {}
        self.blocks += 1
        if self.blocks == self.ends_at:
            raise ContestantError("its process ended with code -9")
        return {"seconds": 0.5}


def test_a_process_that_ends_while_it_is_timed_costs_its_own_rows_only(tmp_path: Path) -> None:
    settings = ComparisonSettings(engines=("a", "b"), threads=1)
    processes = PairProcesses(tmp_path, settings, [0], ExitStack())
    for name, ends_at in (("a", None), ("b", 2)):
        processes.ready.append(Pair("model", Contestant(name, "x", (), "x"), name, timed=True))
        processes._processes[name] = _Process(ends_at)  # type: ignore[assignment]
    found = list(engine_comparison._measure(processes, {"model": [[1, 2]]}, "1 x 2", rounds=3))
    assert [(one.engine, one.seconds) for one in found] == [("a", (0.5, 0.5, 0.5))]
    assert processes.left_out == {"b": "its process ended with code -9 while it was measured"}
