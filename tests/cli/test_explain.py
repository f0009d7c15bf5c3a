# SPDX-License-Identifier: MIT
"""``fastformers explain``: the same facts as text and as JSON, and an exit status that tells what is not covered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import exit_status

from fastformers.cli.exit_codes import ExitCode

pytest.importorskip("torch", reason="models need the torch extra")
transformers = pytest.importorskip("transformers", reason="models need the torch extra")


def test_model_is_explained_as_json(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("explain", model_folder, "--length", 16, "--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["supported"] is True
    (layer,) = document["layers"]
    assert (layer["heads"], layer["head_size"], layer["intermediate"]) == (2, 32, 128)
    assert [part["name"] for part in layer["parts"]] == ["qkv", "attention", "output", "up", "down"]
    assert {part["name"] for part in document["others"]} == {"logits.0", "logits.1"}


def test_model_is_explained_as_text_for_texts(
    model_folder: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("explain", model_folder, "--texts", texts) == ExitCode.OK
    printed = " ".join(capsys.readouterr().out.split())
    assert "mean of 24, 6 to 6 tokens" in printed
    assert "2 x 32, FFN 128" in printed
    assert "include_head" in printed


def test_model_that_is_not_covered_exits_4_and_names_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = transformers.BertConfig(
        vocab_size=20,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        is_decoder=True,
    )
    transformers.BertModel(shape).save_pretrained(tmp_path)
    assert exit_status("explain", tmp_path) == ExitCode.BAD_FILE
    printed = " ".join(capsys.readouterr().out.split())
    assert "cannot be compiled" in printed
    assert "fastformers quantize" in printed
    assert exit_status("explain", tmp_path, "--json") == ExitCode.BAD_FILE
    document = json.loads(capsys.readouterr().out)
    assert document["supported"] is False
    assert "decoder" in document["problem"]


def test_length_beyond_the_models_limit_is_wrong_usage(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("explain", model_folder, "--length", 33) == ExitCode.USAGE
    assert "allowed: 1 to 32" in capsys.readouterr().err


def test_folder_without_a_model_is_a_bad_file(tmp_path: Path) -> None:
    assert exit_status("explain", tmp_path) == ExitCode.BAD_FILE
