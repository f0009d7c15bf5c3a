# SPDX-License-Identifier: MIT
"""task.json: round trip of every task, and refusal of anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastformers.errors import ConfigError, FormatError
from fastformers.tasks import TASK_FILE, TASK_NAMES, TaskFile, get_task
from fastformers.tasks.custom import task_with_labels

GOOD = TaskFile(get_task("wic"), 128).to_dict()
OWN = TaskFile(task_with_labels(("a", "b")), 64).to_dict()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_task_comes_back(name: str, tmp_path: Path) -> None:
    given = TaskFile(get_task(name), 256, "longest_first", pairs=True)
    given.save(tmp_path)
    assert TaskFile.load(tmp_path) == given
    assert [path.name for path in tmp_path.iterdir()] == [TASK_FILE]


@pytest.mark.parametrize("labels", [("no", "yes", "été"), ()])
def test_a_users_task_comes_back_with_its_labels(labels: tuple[str, ...], tmp_path: Path) -> None:
    TaskFile(task_with_labels(labels), 64).save(tmp_path)
    found = TaskFile.load(tmp_path)
    assert (found.task.labels, found.task.kind) == (labels, "classification" if labels else "regression")


def test_the_file_says_what_other_programs_need() -> None:
    assert GOOD == {
        "task": "wic",
        "kind": "spans",
        "labels": ["True", "False"],
        "max_length": 128,
        "num_spans": 2,
        "truncation": "keep_question",
        "pairs": None,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**GOOD, "task": "wics"}, "no task 'wics'; did you mean wic"),
        ({**GOOD, "labels": ["False", "True"]}, "labels is .*; the task 'wic' has"),
        ({**GOOD, "kind": "regression"}, "kind is 'regression'; the task 'wic' has 'spans'"),
        ({**GOOD, "num_spans": 1}, "num_spans is 1; the task 'wic' has 2"),
        ({**GOOD, "max_length": True}, "max_length is True, must be of type int"),
        ({**GOOD, "max_length": 0}, "max_length is 0, must be from 3 to"),
        ({**GOOD, "pairs": 1}, "pairs is 1, must be true, false or null"),
        ({**GOOD, "truncation": "left"}, "truncation is 'left', must be"),
        ({**GOOD, "more": 1}, "has an unknown field 'more'; known: task"),
        ({key: value for key, value in GOOD.items() if key != "kind"}, "kind is None, must be of type str"),
        ({**OWN, "labels": ["a"]}, "must be distinct and two or more, or none"),
        ({**OWN, "labels": ["a", "a"]}, "must be distinct and two or more, or none"),
        ({**OWN, "labels": ["a", 1]}, "must be a list of texts"),
        ({**OWN, "labels": []}, "kind is 'classification'; the task 'custom' has 'regression'"),
    ],
)
def test_what_contradicts_itself_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / TASK_FILE).write_text(json.dumps(content))
    with pytest.raises(FormatError, match=words):
        TaskFile.load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"task\.json is missing"):
        TaskFile.load(tmp_path)


@pytest.mark.parametrize("max_length", [0, 2, (1 << 20) + 1, int(1e30)])
def test_a_length_that_could_not_be_read_again_is_refused_before_it_is_saved(max_length: int) -> None:
    with pytest.raises(ConfigError, match=f"max_length is {max_length}, must be from 3 to 1048576"):
        TaskFile(get_task("rte"), max_length)


def test_labels_that_could_not_be_read_again_are_refused_before_they_are_saved() -> None:
    long = tuple(f"{number}{'é' * 200}" for number in range(5000))
    many = tuple(map(str, range((1 << 16) + 1)))
    for labels in (long, many):
        with pytest.raises(ConfigError, match=f"{len(labels)} labels take [0-9]+ bytes in task.json"):
            TaskFile(task_with_labels(labels), 64)
