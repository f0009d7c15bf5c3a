# SPDX-License-Identifier: MIT
"""Runs ladder.toml on one or more tasks and seeds, and appends one line a stage to a file of results.

usage: python -m bench.accuracy.run --tasks cb copa --seeds 42 43 44 --data SUPERGLUE --base MINILM
                                    [--work DIR] [--results bench/accuracy/results.jsonl] [--minutes M]

A killed or stopped run goes on where it was when the same command is given again: stages are cached in --work, training
stages have checkpoints. After --minutes no further task and seed is begun.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from fastformers.recipes.recipe_file import parse_recipe, read_toml
from fastformers.recipes.recipe_plan import Plan, plan_recipe
from fastformers.recipes.recipe_run import run_stages

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"


def make_plan(task: str, seed: int, data: Path, base: Path, work: Path) -> Plan:
    """Puts a task's settings into the ladder."""
    content: dict[str, Any] = read_toml(HERE / "ladder.toml")
    settings = read_toml(HERE / "tasks.toml")[task]
    content["recipe"] = {"task": task, "seed": seed, "max_length": settings["max_length"]}
    for stage in content["stage"]:
        if stage["kind"] in settings:
            stage.update(settings[stage["kind"]], batch_size=settings["batch_size"])
    recipe = parse_recipe(content, HERE).with_paths(data, {"base": base})
    return plan_recipe(recipe, work / f"{task}-{seed}")


def run(plan: Plan, task: str, seed: int, results: Path) -> None:
    """Runs what is not there yet, and writes the lines of this task and seed anew."""
    folder = plan.stages[0].folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    found = run_stages(
        plan, folder, tell=lambda line: print(f"{task} {seed} {line}", flush=True), progress=True
    )
    answers = {result.planned.stage.name: result.answers for result in found}
    lines = []
    for result in found:
        stage = result.planned.stage
        source = stage.inputs.get("model", "")
        changed = None
        if stage.kind == "compile":
            pairs = zip(result.answers, answers[source], strict=True)
            changed = sum(one != other for one, other in pairs) / len(result.answers)
        lines.append(
            {
                "task": task,
                "seed": seed,
                "stage": stage.name,
                "kind": stage.kind,
                "score": round(result.metrics["score"], 3),
                "metrics": {name: round(value, 5) for name, value in result.metrics.items()},
                "changed": changed,
                "majority": round(100 * _majority(plan), 1),
                "examples": [len(plan.train), len(plan.val)],
                "seconds": round(result.seconds, 1),
                "settings": dict(stage.options.text),
            }
        )
    kept = [line for line in read(results) if (line["task"], line["seed"]) != (task, seed)]
    results.write_text("".join(f"{json.dumps(line)}\n" for line in [*kept, *lines]), encoding="utf-8")


def _majority(plan: Plan) -> float:
    """Share of the most frequent label among the validation examples."""
    labels = [example.label for example in plan.val]
    return max(labels.count(label) for label in set(labels)) / len(labels)


def read(results: Path) -> list[dict[str, Any]]:
    """Reads a file of results; none is an empty one."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("accuracy-work"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    start = time.monotonic()
    for seed in options.seeds:
        for task in options.tasks:
            if time.monotonic() - start > 60 * options.minutes:
                print(
                    f"{options.minutes:g} minutes are over: the same command goes on with {task}, seed {seed}"
                )
                return 0
            plan = make_plan(task, seed, options.data, options.base, options.work)
            run(plan, task, seed, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
