# SPDX-License-Identifier: MIT
"""``fastformers predict``: texts as arguments or in files, answers as lines, as JSON or in a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_status

import fastformers as ff
from fastformers.answers import Prediction
from fastformers.cli.exit_codes import ExitCode
from fastformers.cli.predict import row_of
from fastformers.cli.texts import read_marked_texts


def test_answers_are_printed_beside_their_texts(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("predict", model_folder, "the cat", "a dog\n ran") == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    for line, text, answer in zip(
        lines,
        ("the cat", "a dog ran"),
        ff.predict(model_folder, ["the cat", "a dog\n ran"]),
        strict=True,
    ):
        assert line == f"{answer.label}  {answer.score:7.4f}  {text}"


def test_a_pair_is_one_text(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("predict", model_folder, "the cat", "--pair", "a dog", "--json") == ExitCode.OK
    (found,) = json.loads(capsys.readouterr().out)
    (answer,) = ff.predict(model_folder, [("the cat", "a dog")])
    assert found == {"text": "the cat", "text_pair": "a dog", **answer._asdict()}


def test_a_table_of_texts_is_answered_into_a_file(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "texts.csv"
    table.write_text('id,text\n7,"the cat, é"\n8,a dog\n', encoding="utf-8")
    out = tmp_path / "answers.jsonl"
    assert exit_status("predict", model_folder, "--texts", table, "-o", out) == ExitCode.OK
    assert f"Answers to 2 texts in {out}" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["the cat, é", "a dog"]
    assert [row["label"] for row in rows] == [
        answer.label for answer in ff.predict(model_folder, ["the cat, é", "a dog"])
    ]


def test_a_dash_is_standard_input(model_folder: Path) -> None:
    command = [sys.executable, "-m", "fastformers", "predict", str(model_folder), "--texts", "-", "--json"]
    done = subprocess.run(command, input=b"the cat\na dog\n", capture_output=True, timeout=300, check=False)
    assert done.returncode == ExitCode.OK, done.stderr
    assert [row["text"] for row in json.loads(done.stdout)] == ["the cat", "a dog"]


def test_json_is_printed_beside_a_file_too(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    assert exit_status("predict", model_folder, "the cat", "a dog", "--json", "-o", out) == ExitCode.OK
    printed = json.loads(capsys.readouterr().out)
    assert printed == [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(printed) == 2


@pytest.mark.parametrize(
    "text",
    [
        ff.SpanText("one two", [(0, 3)]),
        ff.SpanText("one", [(0, 1), (1, 3)], "two", (1, 0)),
        ("one", "two"),
        "one",
    ],
)
def test_what_is_written_can_be_read_again(text: Any, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(row_of(text, Prediction("good", 0.5))), encoding="utf-8")
    assert read_marked_texts(path) == [text]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give the texts as arguments"),
        (("one", "--texts", "FILE"), "give the texts as arguments"),
        (("one", "two", "--pair", "three"), "--pair is the second text of one TEXT"),
        (("one", " "), "a text is empty"),
        (("one", "--pair", ""), "a text is empty"),
        (("one", "-o", "absent/out.jsonl"), "absent is not a folder"),
        (("--texts", "EMPTY"), "holds no text"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_opened(
    arguments: tuple[str, ...],
    message: str,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {"FILE": tmp_path / "texts.txt", "EMPTY": tmp_path / "empty.txt"}
    files["FILE"].write_text("one\n", encoding="utf-8")
    files["EMPTY"].write_text("\n", encoding="utf-8")
    given = [files.get(argument, argument) for argument in arguments]
    assert exit_status("predict", model_folder, *given) == ExitCode.USAGE
    assert message in capsys.readouterr().err
