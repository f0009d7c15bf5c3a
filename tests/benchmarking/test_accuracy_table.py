# SPDX-License-Identifier: MIT
"""Tables of bench/accuracy: rows are compared on the seeds and tasks that both have, and missed goals are marked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.accuracy.run import constant_score, note, read
from bench.accuracy.table import cell, changed_answers, difference, differences, tables, times
from fastformers.counted import counted
from fastformers.tasks import Example, get_task


def line(
    task: str,
    seed: int,
    stage: str,
    score: float,
    changed: float | None = None,
    val: int = 50,
    seconds: float = 1.0,
) -> dict[str, Any]:
    kind = "compile" if stage.endswith("-int8") else "distill"
    return {
        "task": task, "seed": seed, "stage": stage, "kind": kind, "score": score, "changed": changed, "constant": 50.0,
        "examples": [100, val], "seconds": seconds, "metrics": {"accuracy": score / 100},
    }  # fmt: skip


def row_of(text: str, words: str) -> list[str]:
    """Cells of the row that begins with the words."""
    found = next(each for each in text.splitlines() if each.startswith(f"| {words}"))
    return [each.strip() for each in found.strip("|").split("|")][1:]


def test_only_seeds_that_both_rows_have_are_compared() -> None:
    lines = [line("cb", 1, "teacher", 90), line("cb", 2, "teacher", 80), line("cb", 2, "student", 77)]
    assert difference(lines, "cb", [("student", "teacher")]) == pytest.approx(-3)
    assert difference(lines, "rte", [("student", "teacher")]) is None


def test_a_mean_counts_each_task_once_and_marks_a_missed_goal() -> None:
    lines = [
        line("cb", 1, "teacher", 90), line("cb", 1, "student", 87),
        line("cb", 2, "teacher", 90), line("cb", 2, "student", 87),
        line("rte", 1, "teacher", 70), line("rte", 1, "student", 69),
        line("cb", 1, "student-3", 85), line("sst2", 1, "labels-only", 90),
    ]  # fmt: skip
    text = differences(lines)
    assert "sst2" not in text
    assert row_of(text, "distilled, against the teacher") == ["-3.0", "-1.0", "-2.0", "-2.0"]
    assert row_of(text, "its layers 1, 3, 5, against") == ["-5.0", "", "-5.0 (1)", "-2.0 \u2717"]
    assert "labels only" not in text


def test_a_task_that_is_asked_in_two_ways_counts_once() -> None:
    lines = [
        line("copa", 1, "teacher", 57), line("copa", 1, "student", 51),
        line("copa-choices", 1, "teacher", 70), line("copa-choices", 1, "student", 68),
        line("cb", 1, "teacher", 90), line("cb", 1, "student", 86),
    ]  # fmt: skip
    text = tables(lines)
    assert row_of(text, "distilled, against the teacher") == ["-6.0", "-2.0", "-4.0", "-3.0", "-2.0 \u2717"]
    assert row_of(text, "teacher, MPNet")[-1] == "80.0"
    alone = tables([each for each in lines if each["task"] != "copa-choices"])
    assert row_of(alone, "distilled, against the teacher") == ["-6.0", "-4.0", "-5.0", "-2.0 \u2717"]


def test_int8_is_compared_with_its_own_float32_model() -> None:
    lines = [
        line("cb", 1, "teacher", 90), line("cb", 1, "teacher-int8", 89, changed=0.02),
        line("cb", 1, "student", 80), line("cb", 1, "student-int8", 80, changed=0.0),
    ]  # fmt: skip
    text = tables(lines)
    assert row_of(text, "INT8, against float32: the teacher") == ["-1.0", "-1.0", "-0.2 \u2717"]
    assert row_of(text, "INT8, against float32: all models") == ["-0.5", "-0.5", "-0.2 \u2717"]


def test_changed_answers_are_counted_by_run_and_by_example() -> None:
    lines = [
        line("cb", 1, "teacher", 91), line("cb", 1, "teacher-int8", 89, changed=0.02, val=100),
        line("rte", 1, "teacher", 89), line("rte", 1, "teacher-int8", 89, 0.0, val=300),
        line("cb", 1, "student", 89.001), line("cb", 1, "student-int8", 89, changed=0.0),
    ]  # fmt: skip
    text = changed_answers(lines)
    assert row_of(text, "teacher") == ["1.00", "2.00", "0.50", "-0.50", "400"]
    assert row_of(text, "MiniLM 6 x 384, distilled") == ["0.00", "0.00", "0.00", "0.00", "50"]
    assert row_of(text, "all models") == ["0.67", "2.00", "0.44", "-0.44", "450"]


def test_times_are_of_the_stages_that_train() -> None:
    lines = [
        line("cb", 1, "teacher", 89, seconds=1000), line("cb", 2, "teacher", 89, seconds=1500),
        line("rte", 1, "student", 89, seconds=7), line("cb", 1, "teacher-int8", 89, 0.0),
    ]  # fmt: skip
    found = times(lines)
    assert row_of(found, "teacher") == ["1,250", ""]
    assert row_of(found, "MiniLM 6 x 384, distilled") == ["", "7"]
    assert "INT8" not in found


def test_a_cell_says_how_many_seeds_it_has() -> None:
    assert cell([70.0, 72.0], 2) == "71.0 ± 1.4"
    assert cell([70.0], 2) == "70.0 (1)"
    assert cell([], 2) == ""
    assert counted(2, "seed") in tables([line("cb", 1, "teacher", 90), line("cb", 2, "teacher", 90)])


def test_a_task_without_a_teacher_does_not_empty_the_means() -> None:
    lines = [line("cb", 1, "teacher", 90), line("rte", 1, "teacher", 70), line("sst2", 1, "labels-only", 95)]
    assert row_of(tables(lines), "teacher, MPNet") == ["90.0", "70.0", "", "80.0"]
    assert row_of(tables(lines), "always the same answer") == ["50.0", "50.0", "50.0", "50.0"]


@pytest.mark.parametrize(
    ("task", "labels", "score"),
    [
        ("rte", [0, 0, 0, 1], 75.0),
        ("cb", [0, 0, 1, 2], 100 * (1 / 2 + (2 / 3) / 3) / 2),  # accuracy and macro-F1 of "always entailment"
        ("copa-choices", [1, 0, 0, 1, 1, 0], 100 * 2 / 3),  # of equal choices the first is picked
    ],
)
def test_the_baseline_is_the_tasks_own_score_of_one_answer(
    task: str, labels: list[int], score: float
) -> None:
    examples = [
        Example(
            str(place),
            "x",
            label=label,
            group=str(place // 2),
            facts={"row": place // 2, "choice": place % 2},
        )
        for place, label in enumerate(labels)
    ]
    assert constant_score(get_task(task), examples) == pytest.approx(score)


def test_lines_of_stages_that_are_still_to_come_stay(tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(
        recipe=SimpleNamespace(task="rte", seed=1),
        task=get_task("rte"),
        train=[],
        val=[Example("0", "x", label=0), Example("1", "x", label=1)],
    )

    def result(name: str, score: float) -> Any:
        stage = SimpleNamespace(name=name, kind="train", options=SimpleNamespace(text={}))
        planned = SimpleNamespace(stage=stage)
        return SimpleNamespace(planned=planned, answers=[0, 1], metrics={"score": score}, seconds=1.0)

    results = tmp_path / "results.jsonl"
    note(plan, [result("teacher", 60.0), result("student", 50.0)], results)
    note(plan, [result("teacher", 61.0)], results)
    assert {each["stage"]: each["score"] for each in read(results)} == {"student": 50.0, "teacher": 61.0}
