# SPDX-License-Identifier: MIT
"""Files of texts: a pair is a pair, also where a verb takes running text."""

from __future__ import annotations

from pathlib import Path

from fastformers.cli.bench import running_text
from fastformers.cli.texts import read_texts


def test_a_line_with_two_texts_is_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    lines = '{"text": "one"}\n\n{"text": "two", "text_pair": "three"}\n{"text": "four", "text_pair": null}\n'
    path.write_text(lines, encoding="utf-8")
    assert read_texts(path) == ["one", ("two", "three"), "four"]
    assert [*running_text(read_texts(path))] == ["one", "two", "three", "four"]


def test_lines_of_other_files_are_texts_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text('{"text": "one"}\ntwo\n', encoding="utf-8")
    assert read_texts(path) == ['{"text": "one"}', "two"]
