# SPDX-License-Identifier: MIT
"""Makes the tables of docs/results.md from the results of run.py.

usage: python -m bench.accuracy.table [--results bench/accuracy/results.jsonl] [--write docs/results.md]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.accuracy.run import RESULTS, read
from bench.harness.markdown import MISSED, table, write_between_markers
from fastformers.counted import counted

_BEGIN, _END = "<!-- tables: begin -->", "<!-- tables: end -->"

#: Stage -> what the table calls it. Stages whose weights were cut and not trained again come last.
ROWS = {
    "teacher": "teacher, MPNet 12 x 768",
    "teacher-int8": "the same, INT8",
    "labels-only": "MiniLM 6 x 384, labels only",
    "labels-only-int8": "the same, INT8",
    "student": "MiniLM 6 x 384, distilled",
    "student-int8": "the same, INT8",
    "student-3": "its layers 1, 3, 5, distilled",
    "student-3-int8": "the same, INT8",
    "pruned-25": "pruned 25 %/25 %, distilled again",
    "pruned-25-int8": "the same, INT8",
    "pruned-50": "pruned 33 %/50 %, distilled again",
    "pruned-50-int8": "the same, INT8",
    "pruned-58": "pruned 42 %/58 %, distilled again",
    "pruned-58-int8": "the same, INT8",
    "pruned-67": "pruned 50 %/67 %, distilled again",
    "pruned-67-int8": "the same, INT8",
    "pruned-50-magnitude": "33 %/50 % by magnitude instead",
    "pruned-50-random": "33 %/50 % at random instead",
    "25-weights": "pruned 25 %/25 %, not trained again",
    "50-weights": "pruned 33 %/50 %, not trained again",
    "58-weights": "pruned 42 %/58 %, not trained again",
    "67-weights": "pruned 50 %/67 %, not trained again",
    "50-magnitude-weights": "33 %/50 % by magnitude instead",
    "50-random-weights": "33 %/50 % at random instead",
}
_QUANTIZED = tuple((stage, stage.removesuffix("-int8")) for stage in ROWS if stage.endswith("-int8"))

#: The same data asked for in two ways: means leave out the first where the second is measured; a task counts once.
_ASKED_OTHERWISE = {"copa": "copa-choices"}

#: What is compared: the words for it, stages with the ones they are compared with, and the least mean over the tasks.
DIFFERENCES: tuple[tuple[str, tuple[tuple[str, str], ...], float | None], ...] = (
    ("distilled, against the teacher", (("student", "teacher"),), -2.0),
    ("its layers 1, 3, 5, against the teacher", (("student-3", "teacher"),), -2.0),
    ("distilled, against labels only", (("student", "labels-only"),), 0.0),
    ("pruned 25 %/25 %, against the student", (("pruned-25", "student"),), -1.0),
    ("pruned 33 %/50 %, against the student", (("pruned-50", "student"),), -1.5),
    ("pruned 42 %/58 %, against the student", (("pruned-58", "student"),), None),
    ("pruned 50 %/67 %, against the student", (("pruned-67", "student"),), None),
    ("33 %/50 % by first-order scores, against magnitude", (("pruned-50", "pruned-50-magnitude"),), 0.0),
    ("33 %/50 % by first-order scores, against random choice", (("pruned-50", "pruned-50-random"),), 0.0),
    ("the same before training again, against magnitude", (("50-weights", "50-magnitude-weights"),), 0.0),
    ("the same before training again, against random choice", (("50-weights", "50-random-weights"),), 0.0),
    ("INT8, against float32: the teacher", _QUANTIZED[:1], -0.2),
    ("INT8, against float32: all models", _QUANTIZED, -0.2),
)


_ABOUT_DIFFERENCES = (
    "Differences, on the seeds that both rows have; a mean of fewer tasks than the table has says of how many, and "
    f"{MISSED} marks a goal that is missed. COPA counts once: as `copa-choices` where that is measured."
)

_ABOUT_CHANGED = (
    "Answers that INT8 changed, in percent of the validation examples, and what that did to the accuracy of all, in "
    "points: changed answers may have been wrong before (a question of `copa-choices` is two examples here):"
)

_ABOUT_TIMES = (
    "How long each stage trained, in seconds of one core beside other load, means of the seeds; how many epochs, and "
    "in which precision, is in `results.jsonl`. Those in float32 ran on a CPU without bfloat16:"
)


def counted_once(tasks: list[str]) -> list[str]:
    """Returns the tasks that means are of."""
    return [task for task in tasks if _ASKED_OTHERWISE.get(task) not in tasks]


def difference(lines: list[dict[str, Any]], task: str, pairs: Iterable[tuple[str, str]]) -> float | None:
    """Mean difference in points of the pairs of stages, over the seeds that have both; ``None`` without any."""
    scores = {(line["stage"], line["seed"]): line["score"] for line in lines if line["task"] == task}
    found = [
        score - scores[other, seed]
        for stage, other in pairs
        for (name, seed), score in scores.items()
        if name == stage and (other, seed) in scores
    ]
    return mean(found) if found else None


def differences(lines: list[dict[str, Any]]) -> str:
    """Returns the table of differences between stages; tasks without a teacher are left out."""
    tasks = list(dict.fromkeys(line["task"] for line in lines if line["stage"] == "teacher"))
    once = counted_once(tasks)
    rows = []
    for words, pairs, least in DIFFERENCES:
        found = {task: difference(lines, task, pairs) for task in tasks}
        known = [value for task in once if (value := found[task]) is not None]
        if known:
            count = "" if len(known) == len(once) else f" ({len(known)})"
            missed = least is not None and mean(known) < least
            goal = "" if least is None else _points(least) + (f" {MISSED}" if missed else "")
            cells = ["" if value is None else _points(value) for value in found.values()]
            rows.append([words, *cells, _points(mean(known)) + count, goal])
    return table(["points", *tasks, "mean", "at least"], rows)


def _points(value: float) -> str:
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def cell(scores: list[float], seeds: int) -> str:
    """Mean and sample standard deviation; a cell of fewer seeds than its column says of how many."""
    if not scores:
        return ""
    shown = f"{mean(scores):.1f}" + (f" ± {stdev(scores):.1f}" if len(scores) > 1 else "")
    return shown if len(scores) == seeds else f"{shown} ({len(scores)})"


def values_of(lines: list[dict[str, Any]], task: str, stage: str, field: str = "score") -> list[float]:
    return [line[field] for line in lines if (line["task"], line["stage"]) == (task, stage)]


def tables(lines: list[dict[str, Any]]) -> str:
    """Returns scores by stage and task, differences between stages, and answers that INT8 changed, as Markdown.

    Means are of the tasks that have a teacher.
    """
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    seeds = {task: len({line["seed"] for line in lines if line["task"] == task}) for task in tasks}
    head = [f"{task} ({counted(seeds[task], 'seed')})" for task in tasks]
    once = counted_once([task for task in tasks if values_of(lines, task, "teacher")])
    constant = {task: next(line["constant"] for line in lines if line["task"] == task) for task in tasks}
    shares = [*constant.values(), mean(constant[task] for task in once)]
    rows = [["always the same answer", *(f"{share:.1f}" for share in shares)]]
    for stage, name in ROWS.items():
        found = {task: values_of(lines, task, stage) for task in tasks}
        if any(found.values()):
            whole = [found[task] for task in once]
            average = f"{mean(map(mean, whole)):.1f}" if all(whole) else ""
            rows.append([name, *(cell(scores, seeds[task]) for task, scores in found.items()), average])
    text = [table(["", *head, "mean"], rows), ""]
    text += [_ABOUT_DIFFERENCES, "", differences(lines), ""]
    text += [_ABOUT_CHANGED, "", changed_answers(lines), ""]
    text += [_ABOUT_TIMES, "", times(lines)]
    return "\n".join(text)


def changed_answers(lines: list[dict[str, Any]]) -> str:
    """Returns the table of the answers that INT8 changed: mean of the runs, largest of them, and over all examples.

    The accuracy is of all examples together, where a task of few cannot outweigh the others by one answer.
    """
    float32 = {(line["task"], line["seed"], line["stage"]): line["metrics"] for line in lines}
    rows, everything = [], []
    for stage, original in _QUANTIZED:
        found = [
            (
                line["examples"][1],
                100 * line["changed"],
                100
                * (line["metrics"]["accuracy"] - float32[line["task"], line["seed"], original]["accuracy"]),
            )
            for line in lines
            if line["stage"] == stage
        ]
        if found:
            rows.append([ROWS[original], *_changed(found)])
            everything += found
    if everything:
        rows.append(["all models", *_changed(everything)])
    head = [
        "% of answers",
        "mean of runs",
        "most in a run",
        "of all examples",
        "accuracy, points",
        "examples",
    ]
    return table(head, rows)


def _changed(found: list[tuple[int, float, float]]) -> list[str]:
    """Cells of the runs' (examples, changed answers in percent, accuracy's change in points)."""
    asked = sum(number for number, _, _ in found)
    changed, gained = (sum(run[0] * run[field] for run in found) / asked for field in (1, 2))
    shares = [share for _, share, _ in found]
    percents = (f"{share:.2f}" for share in (mean(shares), max(shares), changed))
    return [*percents, f"{gained:+.2f}" if abs(gained) >= 0.005 else "0.00", f"{asked:,}"]


def times(lines: list[dict[str, Any]]) -> str:
    """Returns the table of seconds of the stages that train, means of their seeds."""
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    trained = {line["stage"] for line in lines if line["kind"] in ("train", "distill")}
    rows = []
    for stage in (stage for stage in ROWS if stage in trained):
        found = (values_of(lines, task, stage, "seconds") for task in tasks)
        rows.append([ROWS[stage], *(f"{mean(seconds):,.0f}" if seconds else "" for seconds in found)])
    return table(["seconds", *tasks], rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", type=Path, help=f"file with the lines {_BEGIN} and {_END}")
    options = parser.parse_args()
    lines = read(options.results)
    if not lines:
        print("there are no results: run bench.accuracy.run first", file=sys.stderr)
        return 1
    if options.write is None:
        print(tables(lines))
    else:
        write_between_markers(options.write, tables(lines), _BEGIN, _END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
