# SPDX-License-Identifier: MIT
"""Data files that are missing, malformed or hostile: the error names file, line and what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastformers.errors import ConfigError, FormatError
from fastformers.tasks import custom_task, get_task, load_examples

Write = Callable[[str, Any], Path]

GOOD = {"premise": "It rained.", "hypothesis": "It was wet.", "idx": 0, "label": "entailment"}
LINE = '{"premise": "a", "hypothesis": "b", "idx": 0, "label": "entailment"}\n'


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (without(GOOD, "premise"), r"has no field 'premise'; its fields: 'hypothesis', 'idx', 'label'"),
        ({**GOOD, "premise": 3}, "'premise' is 3, must be of type str"),
        ({**GOOD, "premise": " \n"}, "'premise' is empty: a model needs a text to read"),
        ({**GOOD, "label": "maybe"}, "the label 'maybe' is none of rte's: entailment, not_entailment"),
        ({**GOOD, "label": 1.5}, r"'label' is 1\.5, must be a text, a whole number, true or false"),
        ({**GOOD, "label": None}, "has no label, which the train set needs"),
        (without(GOOD, "label"), "has no label, which the train set needs"),
        ({**GOOD, "idx": True}, "'idx' is True, must be of type int"),
        ({**GOOD, "idx": "first"}, "'idx' is 'first', must be of type int"),
    ],
)
def test_a_malformed_row_is_named(second: Any, words: str, write: Write) -> None:
    folder = write("RTE/train.jsonl", [GOOD, second])
    with pytest.raises(FormatError, match=rf"^train\.jsonl line 2: {words}"):
        load_examples(get_task("rte"), folder, "train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{LINE}{{\n", "train.jsonl line 2 is damaged"),
        (f"{LINE}\n[1]\n", "train.jsonl line 3 holds a list, must hold an object"),
        (LINE + LINE.replace("0", "NaN"), "train.jsonl line 2 is damaged: NaN is not JSON"),
        (LINE + LINE.replace("0", '0, "idx": 1'), "train.jsonl line 2 is damaged: a key occurs twice"),
        (LINE + '{"a": ' + "[" * 40 + "]" * 40 + "}\n", "train.jsonl line 2 is nested deeper than 16 levels"),
        (LINE + "[" * 100_000 + "\n", "train.jsonl line 2 is damaged"),
        (LINE.encode() + b'{"premise": "\xff"}\n', "train.jsonl line 2 is damaged: 'utf-8'"),
        (b"x" * ((16 << 20) + 2), "train.jsonl line 1: is longer than 16777216 bytes"),
        ("\n\n", "the train set of rte in .* holds no examples"),
    ],
    ids=["cut", "list", "nan", "twice", "deep", "very-deep", "not-utf-8", "endless", "blank"],
)
def test_a_hostile_line_is_named(text: Any, words: str, write: Write) -> None:
    with pytest.raises(FormatError, match=words):
        load_examples(get_task("rte"), write("RTE/train.jsonl", text), "train")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError, match=r"holds neither val\.jsonl nor RTE/val\.jsonl: the official val file"
    ):
        load_examples(get_task("rte"), tmp_path, "val")
    with pytest.raises(FormatError, match="nowhere is not a folder: it must hold the files of rte"):
        load_examples(get_task("rte"), tmp_path / "nowhere", "val")


def test_an_unknown_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rte has no split 'dev'; it has: train, val, test"):
        load_examples(get_task("rte"), tmp_path, "dev")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "val.jsonl")
    with pytest.raises(FormatError, match=r"val\.jsonl is missing or not a plain file"):
        load_examples(get_task("rte"), tmp_path, "val")


def copa(**changes: Any) -> dict[str, Any]:
    row = {"premise": "A.", "choice1": "B.", "choice2": "C.", "question": "cause", "idx": 0, "label": 0}
    return {**row, **changes}


def wic(**changes: Any) -> dict[str, Any]:
    row = {"sentence1": "A bank.", "sentence2": "Banks", "start1": 2, "end1": 6, "start2": 0, "end2": 5}
    return {**row, "idx": 0, "label": True, **changes}


def wsc(**changes: Any) -> dict[str, Any]:
    target = {"span1_index": 0, "span1_text": "Ann", "span2_index": 2, "span2_text": "she"}
    return {"text": "Ann said she left.", "target": {**target, **changes}, "idx": 0, "label": True}


def record(
    entity: Any, query: str = "@placeholder left", answers: Any = ({"text": "Ann"},)
) -> dict[str, Any]:
    question = {"query": query, "idx": 0, "answers": list(answers)}
    return {"idx": 0, "passage": {"text": "Ann left.", "entities": [entity]}, "qas": [question]}


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("copa", copa(question="why"), "'question' is 'why', must be 'cause' or 'effect'"),
        ("copa", copa(label=2), "the label '2' is none of copa's: 0, 1"),
        ("copa-choices", copa(question="why"), "'question' is 'why', must be 'cause' or 'effect'"),
        ("copa-choices", copa(label=2), "the label '2' is none of copa-choices's: 0, 1"),
        ("wic", wic(end1=99), r"start1 and end1 mark \[2, 99\) of a text of 7 characters"),
        ("wic", wic(start2=-1), r"start2 and end2 mark \[-1, 5\)"),
        ("wic", wic(start1=1, end1=2), r"start1 and end1 mark \[1, 2\)"),
        ("wsc", wsc(span1_index=9), "target: span1_index is 9, which is no word of the text"),
        ("wsc", wsc(span2_index=-1), "target: span2_index is -1, which is no word of the text"),
        ("wsc", wsc(span2_text=""), "target: 'span2_text' is empty"),
        (
            "record",
            record({"start": 0, "end": 9}),
            r"entities\[0\]: marks characters 0 to 9 of a passage of 9",
        ),
        ("record", record({"start": 3, "end": 3}), r"entities\[0\]: marks characters 3 to 3"),
        ("record", record(7), r"entities\[0\] is 7, must be an object"),
        ("record", record({"start": 0, "end": 2}, "no mark"), r"qas\[0\]: the query has no @placeholder"),
        ("record", record({"start": 0, "end": 2}, answers=()), r"qas\[0\]: has no answer"),
        ("multirc", {"idx": 0, "passage": "text"}, "'passage' is 'text', must be of type dict"),
        ("multirc", {"idx": 0, "passage": {"text": "A.", "questions": [[]]}}, r"questions\[0\] is \[\]"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(name: str, row: Any, words: str, write: Write) -> None:
    folder = write("train.jsonl", [row])
    with pytest.raises(FormatError, match=rf"^train\.jsonl line 1.*{words}"):
        load_examples(get_task(name), folder, "train")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("sst2", "sentence\tlabel\nfine\t1\nfine\n", "line 3: has 1 columns, must have 2: sentence, label"),
        ("sst2", "sentence\tlabel\nfine\t2\n", "line 2: the label '2' is none of sst2's: 0, 1"),
        ("sst2", "sentence\tlabel\n \t1\n", "line 2: 'sentence' is empty"),
        ("sst2", "text\tlabel\nfine\t1\n", "line 2: has no field 'sentence'; its fields: 'text', 'label'"),
        ("sst2", b"sentence\tlabel\n\xe9\t1\n", "line 2: is not UTF-8"),
        ("stsb", "sentence1\tsentence2\tscore\na\tb\tfive\n", "line 2: the score 'five' is not a number"),
        ("stsb", "sentence1\tsentence2\tscore\na\tb\tinf\n", "line 2: the score 'inf' is not a number"),
    ],
)
def test_a_malformed_table_is_named(name: str, text: Any, words: str, write: Write) -> None:
    with pytest.raises(FormatError, match=rf"^train\.tsv {words}"):
        load_examples(get_task(name), write("train.tsv", text), "train")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("train.csv", "text,label\nfine,a,b\n", "train.csv line 2: has 3 columns, the header has 2"),
        ("train.csv", 'text,label\n"fine,a\n', "train.csv line 2: the row that begins here: unexpected end"),
        ("train.csv", 'text,label\nx,a\n"y,b\n' + "z,c\n" * 9, "train.csv line 3: the row that begins here"),
        (
            "train.csv",
            "text,label\rx,a\r",
            "train.csv line 1: .*: a carriage return without a line feed: quote",
        ),
        ("train.csv", "", "the train set in .* holds no examples"),
        (
            "train.csv",
            "Text,label\nx,a\n",
            "train.csv line 2: has the field 'Text': write it as 'text'",
        ),
        ("train.csv", "text,text\na,b\n", "train.csv line 1: a column name occurs twice: text, text"),
        ("train.csv", "text,label\nx,a\n,b\n", "train.csv line 3: 'text' is empty"),
        ("train.csv", "text,text_pair,label\nx,,a\ny,z,b\n", "train.csv line 2: 'text_pair' is empty"),
        ("train.csv", "text,label\nx,a\ny,\n", "train.csv line 3: 'label' is empty: training needs it"),
        ("train.csv", "text\nx\n", "train.csv line 2: has no field 'label'"),
        (
            "train.jsonl",
            '{"text": "x", "label": 1.5}\n',
            r"train.jsonl line 1: 'label' is 1\.5: a class is a text",
        ),
        ("val.csv", "text,label\nx,a\n", r"holds neither train\.csv nor train\.jsonl: one of them is needed"),
    ],
)
def test_a_users_malformed_file_is_named(file: str, text: str, words: str, write: Write) -> None:
    folder = write(file, text)
    with pytest.raises(FormatError, match=words):
        load_examples(custom_task(folder), folder, "train")


@pytest.mark.parametrize(
    ("name", "file", "row", "guid"),
    [
        ("rte", "RTE/train.jsonl", GOOD, "0"),
        ("copa-choices", "COPA/train.jsonl", copa(), "0-0"),
        ("record", "ReCoRD/train.jsonl", record({"start": 0, "end": 2}), "0-0-0"),
    ],
)
def test_rows_of_one_number_are_refused(name: str, file: str, row: Any, guid: str, write: Write) -> None:
    """As in files put together from two: groups would be merged, and answers lost."""
    with pytest.raises(FormatError, match=f"the train set of {name} .* has two rows numbered {guid} "):
        load_examples(get_task(name), write(file, [row, row]), "train")


def test_labels_of_a_test_set_that_are_placeholders_are_not_looked_at(write: Write) -> None:
    answer = {"text": "Ann", "idx": 0, "label": -1}
    question = {"idx": 0, "question": "Who?", "answers": [answer, {**answer, "idx": 1}]}
    multirc = {"idx": 0, "passage": {"text": "Ann left.", "questions": [question]}}
    for name, file, row in (
        ("multirc", "MultiRC/test.jsonl", multirc),
        ("record", "ReCoRD/test.jsonl", record({"start": 0, "end": 2}, answers=())),
        ("rte", "RTE/test.jsonl", {**GOOD, "label": -1}),
    ):
        folder = write(file, [row])
        with pytest.raises(FormatError):
            load_examples(get_task(name), folder, "test")
        examples = load_examples(get_task(name), folder, "test", labelled=False)
        assert examples
        assert all(example.label is None for example in examples)
