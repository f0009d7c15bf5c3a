# SPDX-License-Identifier: MIT
"""Runs every SuperGLUE recipe that comes with the package from start to end, on a few examples of the real data.

usage: python -m bench.accuracy.shipped --data SUPERGLUE --model MINILM [--train 96] [--val 48] [--tasks cb ...]
                                        [--work DIR] [--results bench/accuracy/shipped.json]

It shows that every stage of every task runs: train, distill, prune, distill again, compile, and `quantize` besides,
each result evaluated. So few examples say nothing about how good a model is. --model is the teacher's checkpoint and
the student's. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from math import ceil
from pathlib import Path
from typing import Any

from bench.harness.markdown import table
from fastformers.files.replaced_file import replace_file
from fastformers.recipes.compile_folder import training_texts
from fastformers.recipes.quantizing import quantize_folder
from fastformers.recipes.ready import ready_recipes
from fastformers.recipes.recipe_run import recipe
from fastformers.recipes.scoring import evaluate
from fastformers.tasks import Task, get_task, load_examples

HERE = Path(__file__).parent
TASKS = tuple(name for name in ready_recipes() if name != "own-csv")
SPLITS = ("train", "val")
PRUNED, QUANTIZED = "pruned", "quantized"
#: Stage -> what the table calls it.
COLUMNS = {
    "teacher": "teacher",
    "student": "student",
    "pruned-weights": "pruned",
    PRUNED: "distilled again",
    "int8": "compiled",
    QUANTIZED: "quantized",
}


def write_part(task: Task, data: Path, split: str, examples: int, output: Path) -> int:
    """Copies the first lines of a split, as many as hold about so many examples; returns how many they hold."""
    name = task.files.names[split]
    source = next(path for path in (data / task.files.folder / name, data / name) if path.exists())
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    share = examples / len(load_examples(task, data, split))
    output.mkdir(parents=True, exist_ok=True)
    replace_file(output / name, "".join(lines[: ceil(share * len(lines))]).encode("utf-8"))
    return len(load_examples(task, output, split))


def run_task(name: str, data: Path, model: Path, counts: tuple[int, int], work: Path) -> dict[str, Any]:
    """Runs one recipe and quantizes its pruned model; returns each stage's score."""
    task, folder, output = get_task(name), work / "data" / name, work / name
    found = [
        write_part(task, data, split, count, folder) for split, count in zip(SPLITS, counts, strict=True)
    ]
    start = time.perf_counter()
    report = recipe(name, output, data=folder, models={"large": model, "small": model})
    quantize_folder(output / PRUNED, output / QUANTIZED, texts=training_texts(task, folder), overwrite=True)
    scores = {row.name: row.score for row in report.rows}
    scores[QUANTIZED] = evaluate(output / QUANTIZED, folder)["score"]
    return {
        "task": name,
        "metric": report.metric,
        "examples": found,
        "scores": scores,
        "seconds": time.perf_counter() - start,
        "machine": report.machine,
    }


def results_table(lines: list[dict[str, Any]]) -> str:
    """Returns the results as a Markdown table."""
    rows = [
        [
            line["task"],
            line["metric"],
            " + ".join(str(count) for count in line["examples"]),
            *(f"{line['scores'][stage]:.1f}" for stage in COLUMNS),
            f"{line['seconds']:.0f}",
        ]
        for line in lines
    ]
    header = ["task", "score", "training + validation examples", *COLUMNS.values(), "seconds"]
    return table(header, rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--train", type=int, default=96)
    parser.add_argument("--val", type=int, default=48)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--work", type=Path, default=Path("shipped-work"))
    parser.add_argument("--results", type=Path, default=HERE / "shipped.json")
    options = parser.parse_args()
    lines = []
    for name in options.tasks:
        lines.append(run_task(name, options.data, options.model, (options.train, options.val), options.work))
        replace_file(options.results, (json.dumps(lines, indent=1) + "\n").encode())
    print(results_table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
