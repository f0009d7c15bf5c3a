# SPDX-License-Identifier: MIT
"""``fastformers export`` writes ONNX files that were compared with the model, or says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import exit_status

import fastformers as ff
from fastformers.cli.exit_codes import ExitCode
from fastformers.errors import MissingExtraError

for package in ("torch", "transformers", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason="export needs the torch and onnx extras")


def test_several_precisions_are_written_at_once(
    model_folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [
        "export",
        model_folder,
        "-o",
        out,
        "--precision",
        "fp32",
        "--precision",
        "int8",
        "--texts",
        texts,
    ]
    assert exit_status(*command, "--json") == ExitCode.OK
    reports = json.loads(capsys.readouterr().out)
    assert [report["precision"] for report in reports] == ["fp32", "int8"]
    assert all((out / report["file"]).is_file() for report in reports)
    assert exit_status(*command) == ExitCode.USAGE
    assert "pass overwrite=True" in capsys.readouterr().err
    (out / "model-fp32.onnx").unlink()
    assert exit_status(*command) == ExitCode.USAGE
    assert not (out / "model-fp32.onnx").exists()  # told before the first is written
    assert "model-int8.onnx exists" in capsys.readouterr().err
    assert exit_status(*command, "--overwrite") == ExitCode.OK
    assert f"Saved in {out}" in capsys.readouterr().out


def test_a_difference_ends_with_the_status_of_a_gate(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastformers.export import parity

    nothing = parity.Tolerance(0.0, None, "a test")
    monkeypatch.setattr(parity, "TOLERANCES", {"fp32": nothing})
    assert exit_status("export", model_folder, "-o", tmp_path / "out") == ExitCode.GATE_FAILED
    assert "The first layer that differs is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_check_nothing_is_compared(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert exit_status("export", model_folder, "-o", out, "--no-check") == ExitCode.OK
    assert "not compared with the model" in capsys.readouterr().out
    with ff.OrtModel(out) as model:
        assert len(model.predict(["a text"])) == 1


def test_the_form_of_our_operators_can_be_chosen(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, layers = tmp_path / "out", ("--native", "layers", "--allow-partial", "--no-check")
    assert exit_status("export", model_folder, "-o", out, *layers) == ExitCode.USAGE
    assert "has no effect on 'fp32'" in capsys.readouterr().err
    try:
        ff.ort_library_path()
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    both = ("--precision", "fp32", "--precision", "int8-fastformers")
    assert exit_status("export", model_folder, "-o", out, *both, *layers) == ExitCode.OK
    assert "in fastformers' kernels: " in capsys.readouterr().out
    assert {path.stem for path in out.glob("*.onnx")} == {"model-fp32", "model-int8-fastformers-layers"}


def test_a_misspelt_precision_is_found_before_any_is_written(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("--precision", "fp32", "--precision", "int7")
    assert exit_status("export", model_folder, "-o", tmp_path / "out", *names) == ExitCode.USAGE
    assert "precision is 'int7'; allowed: 'fp32'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_texts_calibrate_the_int8_precision_and_are_refused_where_there_is_none(
    model_folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--texts", texts, "--no-check")
    assert exit_status("export", model_folder, "-o", tmp_path / "one", *given) == ExitCode.USAGE
    assert "texts calibrate INT8 layers, and none is made" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
    both = ("--precision", "fp32", "--precision", "int8")
    assert exit_status("export", model_folder, "-o", tmp_path / "two", *both, *given) == ExitCode.OK
