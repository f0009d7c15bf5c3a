# SPDX-License-Identifier: MIT
"""Answers as the leaderboards read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastformers.errors import ConfigError, ShapeError
from fastformers.tasks import Example, get_task, write_submission
from fastformers.tasks.custom import task_with_labels

SECOND = np.array([[0.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("boolq", "BoolQ.jsonl", '{"idx": 7, "label": "false"}'),
        ("copa", "COPA.jsonl", '{"idx": 7, "label": 1}'),
        ("rte", "RTE.jsonl", '{"idx": 7, "label": "not_entailment"}'),
        ("wic", "WiC.jsonl", '{"idx": 7, "label": "false"}'),
        ("wsc", "WSC.jsonl", '{"idx": 7, "label": "False"}'),
        ("axb", "AX-b.jsonl", '{"idx": "7", "label": "not_entailment"}'),
        ("axg", "AX-g.jsonl", '{"idx": 7, "label": "not_entailment"}'),
        ("sst2", "SST-2.tsv", "index\tprediction\n7\t1"),
        ("qnli", "QNLI.tsv", "index\tprediction\n7\tnot_entailment"),
    ],
)
def test_one_answer_a_line_under_the_official_name(name: str, file: str, line: str, tmp_path: Path) -> None:
    path = write_submission(get_task(name), [Example("7", "x")], SECOND, tmp_path)
    assert path == tmp_path / file
    assert path.read_text() == f"{line}\n"


def test_mnlis_two_test_sets_do_not_overwrite_each_other(tmp_path: Path) -> None:
    logits = np.array([[0.0, 0.0, 1.0]])
    for split in ("test", "test_mismatched"):
        write_submission(get_task("mnli"), [Example("7", "x", "y")], logits, tmp_path, split)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNLI-m.tsv", "MNLI-mm.tsv"]


def test_cb_names_its_three_labels(tmp_path: Path) -> None:
    examples = [Example(str(index), "x") for index in range(3)]
    path = write_submission(get_task("cb"), examples, np.eye(3), tmp_path)
    labels = [line.split('"label": ')[1] for line in path.read_text().splitlines()]
    assert labels == ['"entailment"}', '"contradiction"}', '"neutral"}']


def test_copa_by_choices_names_the_more_likely_choice(tmp_path: Path) -> None:
    examples = [
        Example("", "x", group=str(row), facts={"row": row, "choice": choice})
        for row in (7, 8)
        for choice in (0, 1)
    ]
    logits = np.array([[0, 9], [0, 8], [2, 1], [1, 1]], dtype=np.float32)
    path = write_submission(get_task("copa-choices"), examples, logits, tmp_path)
    assert path.name == "COPA.jsonl"
    assert path.read_text().splitlines() == ['{"idx": 7, "label": 0}', '{"idx": 8, "label": 1}']


def test_multirc_answers_lie_inside_their_passage(tmp_path: Path) -> None:
    numbers = [(5, 0, 0), (5, 0, 1), (5, 1, 2), (6, 2, 3)]
    names = ("passage", "question", "answer")
    examples = [Example("", "x", facts=dict(zip(names, each, strict=True))) for each in numbers]
    path = write_submission(get_task("multirc"), examples, np.eye(2)[[0, 1, 1, 0]], tmp_path)
    assert path.read_text().splitlines() == [
        '{"idx": 5, "passage": {"questions": [{"idx": 0, "answers": [{"idx": 0, "label": 0}, '
        '{"idx": 1, "label": 1}]}, {"idx": 1, "answers": [{"idx": 2, "label": 1}]}]}}',
        '{"idx": 6, "passage": {"questions": [{"idx": 2, "answers": [{"idx": 3, "label": 0}]}]}}',
    ]


def test_record_gives_the_text_of_the_most_likely_entity(tmp_path: Path) -> None:
    def entity(group: str, answer: str, query: int) -> Example:
        return Example("", "x", group=group, answer=answer, facts={"query": query, "answers": None})

    examples = [entity("a", "Ann", 3), entity("a", "Bob", 3), entity("b", "Eve", 4)]
    logits = np.array([[9.0, 10.0], [0.0, 2.0], [1.0, 0.0]])  # by probability, not by raw logit
    path = write_submission(get_task("record"), examples, logits, tmp_path)
    assert path.read_text() == '{"idx": 3, "label": "Bob"}\n{"idx": 4, "label": "Eve"}\n'


def test_stsb_numbers_stay_inside_the_scale(tmp_path: Path) -> None:
    examples = [Example(str(index), "x") for index in range(3)]
    path = write_submission(get_task("stsb"), examples, np.array([[-1.0], [2.5], [7.0]]), tmp_path)
    assert path.read_text() == "index\tprediction\n0\t0.000\n1\t2.500\n2\t5.000\n"


@pytest.mark.parametrize(
    ("labels", "logits", "answer"), [(("bon", "été"), SECOND, '"été"'), ((), np.array([[0.5]]), "0.5")]
)
def test_a_users_answers_are_named_by_line(labels: Any, logits: Any, answer: str, tmp_path: Path) -> None:
    path = write_submission(task_with_labels(labels), [Example("2", "x")], logits, tmp_path / "out.jsonl")
    assert path.read_text("utf-8") == f'{{"line": 2, "label": {answer}}}\n'


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "RTE.jsonl").write_text("old")
    with pytest.raises(ShapeError):
        write_submission(get_task("rte"), [Example("0", "x")], np.zeros((1, 3)), tmp_path)
    with pytest.raises(ValueError, match="invalid literal"):  # a guid that is no number
        write_submission(get_task("rte"), [Example("x", "x")], SECOND, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["RTE.jsonl"]
    assert (tmp_path / "RTE.jsonl").read_text() == "old"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a folder: make it first"):
        write_submission(get_task("rte"), [Example("0", "x")], SECOND, tmp_path / "nowhere" / "RTE.jsonl")
