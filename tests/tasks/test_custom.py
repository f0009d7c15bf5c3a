# SPDX-License-Identifier: MIT
"""A user's own CSV and JSONL files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastformers.errors import ConfigError, FormatError
from fastformers.tasks import Example, custom_task, load_examples

Write = Callable[[str, Any], Path]


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_than_commas_are_named(write: Write, sign: str, name: str) -> None:
    folder = write("train.csv", f'text{sign}label\n"a, b"{sign}x\n')
    with pytest.raises(FormatError, match=rf"train\.csv line 1: the columns .* are separated by {name}"):
        custom_task(folder)


def test_labels_are_those_of_the_training_file_sorted(write: Write) -> None:
    folder = write("train.csv", "label,text\nzebra,a\nant,b\nzebra,c\n")
    task = custom_task(folder)
    assert (task.name, task.kind, task.labels) == ("custom", "classification", ("ant", "zebra"))
    assert [each.label for each in load_examples(task, folder, "train")] == [1, 0, 1]


def test_spreadsheet_quoting_and_a_byte_order_mark_are_understood(write: Write) -> None:
    text = '\ufefftext,text_pair,label\r\n"one, ""two""\nthree",pair,1\r\nfour,five, 0 \r\n'
    folder = write("train.csv", text)
    assert load_examples(custom_task(folder), folder, "train") == [
        Example("3", 'one, "two"\nthree', "pair", 1),
        Example("4", "four", "five", 0),
    ]


def test_empty_rows_and_columns_of_a_spreadsheet_are_passed_over(write: Write) -> None:
    folder = write("train.csv", "text,label,,\r\none,a,,\r\n,,,\r\n\r\ntwo,b,,\r\n,, ,\r\n")
    assert load_examples(custom_task(folder), folder, "train") == [
        Example("2", "one", None, 0),
        Example("5", "two", None, 1),
    ]


@pytest.mark.parametrize(
    ("values", "labels"),
    [((True, False), ("false", "true")), ((10, 9), ("10", "9")), (("é", "e"), ("e", "é"))],
)
def test_json_labels_may_be_texts_whole_numbers_and_truth_values(
    values: tuple[Any, ...], labels: tuple[str, ...], write: Write
) -> None:
    folder = write("train.jsonl", [{"text": "x", "label": value} for value in values])
    assert custom_task(folder).labels == labels


def test_numbers_are_predicted_only_when_asked_for(write: Write) -> None:
    folder = write("train.csv", "text,label\na,1.5\nb,-2\n")
    task = custom_task(folder, regression=True)
    assert (task.kind, task.labels, task.num_labels) == ("regression", (), 1)
    assert [each.label for each in load_examples(task, folder, "train")] == [1.5, -2.0]
    assert custom_task(folder).labels == ("-2", "1.5")


def test_numbers_taken_for_classes_are_told_of_regression(write: Write) -> None:
    folder = write("train.jsonl", [{"text": "x", "label": 1.5}])
    with pytest.raises(FormatError, match=r"line 1: 'label' is 1\.5: .*--regression"):
        custom_task(folder)


def test_a_text_too_long_for_csv_is_told_of_jsonl(write: Write) -> None:
    folder = write("train.csv", f"text,label\n{'a ' * 70_000},x\n")
    with pytest.raises(FormatError, match=r"line 2: .*field limit.* taken from \.jsonl"):
        custom_task(folder)


def test_an_unknown_label_is_told_with_few_of_the_known_ones(write: Write) -> None:
    folder = write("train.csv", "text,label\n" + "".join(f"a,{place}.5\n" for place in range(500)))
    task = custom_task(folder)
    write("val.csv", "text,label\na,0.7\n")
    with pytest.raises(FormatError, match=r"'0\.7' is none .* and 480 others; .*--regression") as told:
        load_examples(task, folder, "val")
    assert len(str(told.value)) < 400


@pytest.mark.parametrize("label", ["high", "nan", "1e999", ""])
def test_a_label_that_is_no_number_is_refused_in_regression(label: str, write: Write) -> None:
    folder = write("train.csv", f"text,label\na,{label}\n")
    with pytest.raises(FormatError, match=rf"train\.csv line 2: 'label' is '{label}', must be a number"):
        load_examples(custom_task(folder, regression=True), folder, "train")


def test_a_number_with_a_decimal_comma_is_told_of_points(write: Write) -> None:
    folder = write("train.csv", 'text,label\na,"1,5"\n')
    with pytest.raises(FormatError, match=r"'label' is '1,5', .*; decimals are written with a point"):
        load_examples(custom_task(folder, regression=True), folder, "train")


def test_another_encoding_is_told_what_to_save_as(write: Write) -> None:
    folder = write("train.csv", "text,label\nça va,a\nx,b\n".encode("cp1252"))
    with pytest.raises(FormatError, match=r"train\.csv line 2: is not UTF-8: .*; save the file as UTF-8"):
        custom_task(folder)


def test_a_label_outside_the_training_set_is_refused(write: Write) -> None:
    write("val.jsonl", [{"text": "x", "label": "c"}])
    folder = write("train.csv", "text,label\nx,a\ny,b\n")
    with pytest.raises(FormatError, match=r"val\.jsonl line 1: the label 'c' is none of custom's: a, b"):
        load_examples(custom_task(folder), folder, "val")


def test_a_test_set_needs_no_labels(write: Write) -> None:
    write("test.csv", "text,label\nx,\ny, \n")
    folder = write("train.csv", "text,label\nx,a\ny,b\n")
    for task in (custom_task(folder), custom_task(folder, regression=True)):
        assert load_examples(task, folder, "test") == [Example("2", "x"), Example("3", "y")]


def test_minus_one_means_no_label_in_a_test_set_where_it_is_no_class(write: Write) -> None:
    write("test.jsonl", [{"text": "x", "label": -1}])
    folder = write("train.csv", "text,label\nx,0\ny,1\n")
    assert load_examples(custom_task(folder), folder, "test") == [Example("1", "x")]
    signs = write("train.csv", "text,label\nx,-1\ny,1\n")
    assert load_examples(custom_task(signs), signs, "test") == [Example("1", "x", label=0)]
    write("val.jsonl", [{"text": "x", "label": -1}])
    folder = write("train.csv", "text,label\nx,0\ny,1\n")
    with pytest.raises(FormatError, match=r"val\.jsonl line 1: the label '-1' is none of custom's"):
        load_examples(custom_task(folder), folder, "val")


def test_one_label_alone_is_refused(write: Write) -> None:
    folder = write("train.csv", "text,label\nx,a\ny,a\n")
    with pytest.raises(ConfigError, match=r"has the labels \['a'\]: two or more are needed"):
        custom_task(folder)


def test_two_files_for_one_split_are_refused(write: Write) -> None:
    write("train.csv", "text,label\nx,a\n")
    folder = write("train.jsonl", [{"text": "x", "label": "a"}])
    with pytest.raises(FormatError, match=r"holds both train\.csv and train\.jsonl"):
        custom_task(folder)


@pytest.mark.parametrize("label", ["1_5", "1e39", "-4e38"])
def test_numbers_that_are_read_otherwise_than_written_are_refused(label: str, write: Write) -> None:
    folder = write("train.csv", f"text,label\na,{label}\n")
    with pytest.raises(FormatError, match=f"'label' is '{label}', must be a number that float32 holds"):
        load_examples(custom_task(folder, regression=True), folder, "train")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("text_Pair", "text_pair"),
        ("Text pair", "text_pair"),
        ("textPair", "text_pair"),
        ("text.pair", "text_pair"),
        ("Label", "label"),
    ],
)
def test_a_column_named_almost_as_ours_is_not_overlooked(name: str, meant: str, write: Write) -> None:
    folder = write("test.csv", f"text,{name}\na,b\n")
    write("train.csv", "text,text_pair,label\na,b,x\na,c,y\n")
    with pytest.raises(FormatError, match=f"test.csv line 2: has the field '{name}': write it as '{meant}'"):
        load_examples(custom_task(folder), folder, "test")
    write("test.csv", f"text,{meant},{name}\na,b,c\n")  # beside ours it is a column of the user's own
    assert load_examples(custom_task(folder), folder, "train")
