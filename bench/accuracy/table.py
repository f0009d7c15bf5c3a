# SPDX-License-Identifier: MIT
"""Writes the tables of docs/results.md from the results of run.py.

usage: python -m bench.accuracy.table [--results bench/accuracy/results.jsonl] > tables.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.accuracy.run import RESULTS, read
from bench.harness.markdown import table
from fastformers.benchmarking.wording import counted

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


def cell(scores: list[float], seeds: int) -> str:
    """Mean and sample standard deviation; a cell of fewer seeds than its column says of how many."""
    if not scores:
        return ""
    shown = f"{mean(scores):.1f}" + (f" ± {stdev(scores):.1f}" if len(scores) > 1 else "")
    return shown if len(scores) == seeds else f"{shown} ({len(scores)})"


def scores_of(lines: list[dict[str, Any]], task: str, stage: str) -> list[float]:
    return [line["score"] for line in lines if (line["task"], line["stage"]) == (task, stage)]


def tables(lines: list[dict[str, Any]]) -> str:
    """Returns both tables as Markdown: scores by stage and task, and answers that INT8 changed."""
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    seeds = {task: len({line["seed"] for line in lines if line["task"] == task}) for task in tasks}
    head = [f"{task} ({counted(seeds[task], 'seed')})" for task in tasks]
    majority = [next(line["majority"] for line in lines if line["task"] == task) for task in tasks]
    rows = [["most frequent label", *(f"{share:.1f}" for share in [*majority, mean(majority)])]]
    for stage, name in ROWS.items():
        found = [scores_of(lines, task, stage) for task in tasks]
        if any(found):
            whole = f"{mean(mean(scores) for scores in found):.1f}" if all(found) else ""
            rows.append(
                [name, *(cell(scores, seeds[task]) for scores, task in zip(found, tasks, strict=True)), whole]
            )
    text = [table(["", *head, "mean"], rows), ""]
    for stage in (stage for stage in ROWS if stage.endswith("-int8")):
        shares = [100 * line["changed"] for line in lines if line["stage"] == stage]
        if shares:
            text.append(
                f"INT8 changed {mean(shares):.2f} % of the answers of {ROWS[stage.removesuffix('-int8')]} (most in one "
                f"run: {max(shares):.2f} %).  "
            )
    return "\n".join(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    lines = read(parser.parse_args().results)
    if not lines:
        print("there are no results: run bench.accuracy.run first", file=sys.stderr)
        return 1
    print(tables(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
