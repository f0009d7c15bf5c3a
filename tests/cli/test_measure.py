# SPDX-License-Identifier: MIT
"""``fastformers measure``: text and JSON of a folder, its profile, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import exit_status

from fastformers import kernels
from fastformers.cli.exit_codes import ExitCode

SHORT = ("--seconds", 0.05, "--rounds", 3, "--energy", "off")


@pytest.fixture(scope="module")
def compiled(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled") / "fast"
    assert exit_status("compile", model_folder, "-o", folder, "--float32") == ExitCode.OK
    return folder


def test_the_profile_is_printed_when_asked_for(
    compiled: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("measure", compiled, "--texts", texts, *SHORT) == ExitCode.OK
    assert "Where the time goes" not in capsys.readouterr().out
    assert exit_status("measure", compiled, "--texts", texts, "--profile", *SHORT) == ExitCode.OK
    assert "Where the time goes" in capsys.readouterr().out


def test_saved_numbers_can_be_priced_again(
    compiled: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "measured.json"
    options = ("--profile", "--json", "--save", saved, "--instances", 1, "--threads", 1, *SHORT)
    assert exit_status("measure", compiled, "--texts", texts, *options) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == json.loads(saved.read_text(encoding="utf-8"))
    assert exit_status("cost", saved, "--price", 0.5) == ExitCode.OK


def test_numbers_that_could_not_be_saved_are_not_measured(
    compiled: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "absent" / "measured.json"
    assert exit_status("measure", compiled, "--texts", texts, "--save", place, *SHORT) == ExitCode.USAGE
    assert "absent is not a folder: make it first" in capsys.readouterr().err


def test_a_folder_that_is_not_compiled_is_a_bad_file(model_folder: Path, texts: Path) -> None:
    assert exit_status("measure", model_folder, "--texts", texts, *SHORT) == ExitCode.BAD_FILE


def test_more_threads_than_cores_are_refused(
    compiled: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cores = kernels.default_threads()
    for option in ("--instances", "--threads"):
        assert exit_status("measure", compiled, "--texts", texts, option, cores + 1, *SHORT) == ExitCode.USAGE
        assert f"ask for at most {cores}" in capsys.readouterr().err.replace("\n", " ")


def test_no_texts_are_wrong_usage(compiled: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", encoding="utf-8")
    assert exit_status("measure", compiled, "--texts", empty, *SHORT) == ExitCode.USAGE


def test_a_file_without_a_folder_is_refused_before_measuring(
    compiled: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("--save", tmp_path / "none" / "x.json", "--seconds", 1e9)
    assert exit_status("measure", compiled, "--texts", texts, *wrong) == ExitCode.USAGE
    assert "make it first" in capsys.readouterr().err.replace("\n", " ")


def test_numbers_are_printed_even_when_they_cannot_be_saved(
    compiled: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = exit_status("measure", compiled, "--texts", texts, "--json", "--save", "/dev/full", *SHORT)
    printed = capsys.readouterr()
    assert status == ExitCode.FAILED
    assert json.loads(printed.out)["texts"]
    assert "No space left" in printed.err
    assert "Traceback" not in printed.err


def test_a_folder_of_transformers_is_told_to_be_compiled(
    model_folder: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("measure", model_folder, "--texts", texts, *SHORT) == ExitCode.BAD_FILE
    assert "fastformers compile" in capsys.readouterr().err
