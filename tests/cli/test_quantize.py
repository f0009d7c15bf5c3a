# SPDX-License-Identifier: MIT
"""``fastformers quantize`` turns a model folder into an INT8 one, or says what is wrong and writes nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import exit_status

import fastformers
from fastformers.cli.exit_codes import ExitCode

torch = pytest.importorskip("torch", reason="quantize needs the torch extra")
transformers = pytest.importorskip("transformers", reason="quantize needs the torch extra")


def test_result_loads_and_the_report_is_json(
    model_folder: Path,
    texts: Path,
    example_texts: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    assert exit_status("quantize", model_folder, "-o", output, "--texts", texts, "--json") == ExitCode.OK
    assert isinstance(json.loads(capsys.readouterr().out), dict)
    loaded = fastformers.load_pretrained_torch(output)
    tokens = transformers.AutoTokenizer.from_pretrained(output)(example_texts[0], return_tensors="pt")
    with torch.no_grad():
        assert torch.isfinite(loaded(input_ids=tokens["input_ids"]).logits).all()


def test_report_is_text_and_says_where_the_result_is(
    model_folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert exit_status("quantize", model_folder, "-o", output, "--texts", texts) == ExitCode.OK
    assert f"Saved in {output}" in capsys.readouterr().out.replace("\n", "")


def test_json_lines_are_read(model_folder: Path, example_texts: list[str], tmp_path: Path) -> None:
    lines = tmp_path / "texts.jsonl"
    lines.write_text("\n".join(json.dumps({"text": text}) for text in example_texts), encoding="utf-8")
    assert exit_status("quantize", model_folder, "-o", tmp_path / "out", "--texts", lines) == ExitCode.OK


@pytest.mark.parametrize(
    "line",
    ["not json", '{"words": "x"}', '["text"]', '{"text": 3}', '{"text": "a", "text_pair": 3}'],
)
def test_wrong_json_line_is_a_bad_file_named_with_its_line(
    model_folder: Path, tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "texts.jsonl"
    lines.write_text(f'{{"text": "fine"}}\n{line}\n', encoding="utf-8")
    status = exit_status("quantize", model_folder, "-o", tmp_path / "out", "--texts", lines)
    assert status == ExitCode.BAD_FILE
    assert "texts.jsonl line 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folder_without_a_model_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert exit_status("quantize", empty, "-o", tmp_path / "out") == ExitCode.USAGE
    assert "not the folder of a model" in capsys.readouterr().err


def test_damaged_model_is_a_bad_file(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = Path(shutil.copytree(model_folder, tmp_path / "damaged"))
    (damaged / "config.json").write_text("{}")
    assert exit_status("quantize", damaged, "-o", tmp_path / "out") == ExitCode.BAD_FILE
    assert "does not hold a model" in capsys.readouterr().err


def test_unknown_module_to_exclude_is_wrong_usage(
    model_folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = exit_status(
        "quantize", model_folder, "-o", tmp_path / "out", "--texts", texts, "--exclude", "no.such.layer"
    )
    assert status == ExitCode.USAGE
    assert "no.such.layer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_extra_is_named(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert exit_status("quantize", model_folder, "-o", tmp_path / "out") == ExitCode.MISSING_EXTRA
    assert "fastformers-cpu[torch]" in capsys.readouterr().err
