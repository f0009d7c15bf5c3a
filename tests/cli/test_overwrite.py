# SPDX-License-Identifier: MIT
"""Every verb that writes a model refuses a place that is taken, and replaces what it saved there when told to."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from command_line import exit_status

from fastformers.cli.app import app
from fastformers.cli.exit_codes import ExitCode

pytest.importorskip("torch", reason="these verbs need the torch extra")
pytest.importorskip("transformers", reason="these verbs need the torch extra")

VERBS = {
    "prune": ("--heads", "1", "--scores", "magnitude"),
    "quantize": (),
    "compile": ("--float32",),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_is_taken_stays_as_it_is_until_told_otherwise(
    verb: str, model_folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [verb, model_folder, "-o", tmp_path / "out", *VERBS[verb]]
    if verb == "quantize":
        words += ["--texts", texts]
    assert exit_status(*words) == ExitCode.OK
    mark = tmp_path / "out" / "mine.txt"
    mark.write_text("kept")
    capsys.readouterr()
    assert exit_status(*words) == ExitCode.USAGE
    assert "--overwrite" in capsys.readouterr().err
    assert mark.read_text() == "kept"
    assert exit_status(*words, "--overwrite") == ExitCode.OK
    assert not mark.exists()
    assert (tmp_path / "out" / "fastformers.json").is_file()


@pytest.mark.parametrize("verb", ["prune", "quantize", "compile"])
def test_a_folder_that_was_not_saved_by_us_is_never_replaced(
    verb: str, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    words = (verb, model_folder, "-o", tmp_path, *VERBS[verb], "--overwrite")
    assert exit_status(*words) == ExitCode.USAGE
    assert "not saved by fastformers" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_all_verbs_that_write_a_model_say_it_in_the_same_words() -> None:
    writers = {"prune", "quantize", "compile_model", "distill", "train"}
    found = {
        command.callback.__name__: inspect.signature(command.callback).parameters["overwrite"].annotation
        for command in app.registered_commands
        if command.callback and command.callback.__name__ in writers
    }
    assert found == dict.fromkeys(writers, "Overwrite")


@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    verb: str,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    assert exit_status(verb, model_folder, "-o", tmp_path / "out", *VERBS[verb]) == ExitCode.USAGE
    assert "cannot be written to" in capsys.readouterr().err
