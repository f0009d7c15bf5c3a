# SPDX-License-Identifier: MIT
"""Files of texts: a pair is a pair, also where a verb takes running text; spans are read where a verb takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastformers.cli.bench import running_text
from fastformers.cli.texts import read_marked_texts, read_texts
from fastformers.errors import FormatError
from fastformers.span_text import SpanText


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


def test_a_table_is_read_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('label,text,text_pair\ngood,"one, ""two""",three\nbad,four,five\n', encoding="utf-8")
    assert read_texts(path) == [('one, "two"', "three"), ("four", "five")]


def test_a_table_is_known_by_a_suffix_in_capitals_too(tmp_path: Path) -> None:
    path = tmp_path / "EXPORT.CSV"
    path.write_text("label,text\ngood,one\n", encoding="utf-8")
    assert read_texts(path) == ["one"]


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.ndjson"])
def test_a_table_of_another_kind_is_not_read_as_lines(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("text\tlabel\none\tgood\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"would be read as one text a line.*save it as \.csv"):
        read_texts(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "label,Text\ngood,one\n", "a.csv line 2: has the field 'Text': write it as 'text'"),
        ("a.csv", "one\ntwo\n", "a.csv line 2: has no field 'text'; its fields: 'one'"),
        ("a.csv", 'text\none\n""\n', "a.csv line 3: 'text' is empty"),
        ("a.csv", "text,text_pair\none,\n", "a.csv line 2: 'text_pair' is empty"),
        ("a.jsonl", '{"text": " "}\n', "a.jsonl line 1: 'text' is empty"),
        ("a.jsonl", '{"text": "one", "spans": [[2, 9]]}\n', r"a.jsonl line 1: span 0, \[2, 9\)"),
        ("a.jsonl", '{"text": "one", "spans": "ne"}\n', "a.jsonl line 1: spans is 'ne'"),
    ],
)
def test_a_row_without_what_is_needed_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_marked_texts(tmp_path / name)


def test_spans_are_read_where_a_verb_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "one two", "spans": [[0, 3]]}\n'
        '{"text": "one", "text_pair": "two", "spans": [[0, 1], [0, 3]], "span_texts": [0, 1]}\n{"text": "four"}\n',
        encoding="utf-8",
    )
    assert read_marked_texts(path) == [
        SpanText("one two", [(0, 3)]),
        SpanText("one", [(0, 1), (0, 3)], "two", (0, 1)),
        "four",
    ]
    assert read_texts(path) == ["one two", ("one", "two"), "four"]
