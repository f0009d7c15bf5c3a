# SPDX-License-Identifier: MIT
"""Runs ladder.toml on one or more tasks and seeds, and appends one line a stage to a file of results.

usage: python -m bench.accuracy.run --tasks cb copa --seeds 42 43 44 --data SUPERGLUE --large MPNET --base MINILM
                                    [--precision bfloat16] [--work DIR] [--results bench/accuracy/results.jsonl]
                                    [--stages teacher student ...] [--minutes M]

A killed or stopped run goes on where it was when the same command is given again: stages are cached in --work, training
stages have checkpoints. After --minutes no further stage is begun. When all is done, the folder of a task and seed in
--work has its report.json, too: `fastformers ladder --recipe` takes it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy.further import FURTHER, write_further
from fastformers.recipes.recipe_file import parse_recipe, read_toml
from fastformers.recipes.recipe_plan import Plan, plan_recipe
from fastformers.recipes.recipe_run import StageResult, run_stages, save_report
from fastformers.tasks import Example, Task, evaluate

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"


def make_content(task: str, seed: int, precision: str, stages: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns the ladder as a recipe of this task: its stages, or some of them, with their settings."""
    content: dict[str, Any] = read_toml(HERE / "ladder.toml")
    settings = read_toml(HERE / "tasks.toml")[task]
    content["recipe"] = {"task": task, "seed": seed, "max_length": settings["max_length"]}
    names = stages or settings.get("stages", [stage["name"] for stage in content["stage"]])
    content["stage"] = [stage for stage in content["stage"] if stage["name"] in names]
    for stage in content["stage"]:
        if stage["kind"] in ("train", "distill"):
            own = settings["large" if stage.get("model") == "large" else "base"]
            stage.update(own, batch_size=settings["batch_size"], precision=precision)
        stage.update(settings.get("only", {}).get(stage["name"], {}))
    used = {value for stage in content["stage"] for value in stage.values() if isinstance(value, str)}
    content["models"] = {name: folder for name, folder in content["models"].items() if name in used}
    return content


def make_plan(content: dict[str, Any], data: Path, models: dict[str, Path], output: Path) -> Plan:
    """Finds out what is done and what is to do."""
    recipe = parse_recipe(content, output)
    given = {name: folder for name, folder in models.items() if name in recipe.models}
    return plan_recipe(recipe.with_paths(data, given), output)


def run_task(
    content: dict[str, Any],
    data: Path,
    models: dict[str, Path],
    output: Path,
    results: Path,
    goes_on: Callable[[], bool],
) -> bool:
    """Runs the stages one by one, and keeps the lines of this task and seed up to date after each.

    Returns:
        Whether all of them are done; ``goes_on()`` is asked before each that has to run.
    """
    output.mkdir(parents=True, exist_ok=True)
    if any(stage.get("unlabelled") == FURTHER for stage in content["stage"]):
        write_further(content["recipe"]["task"], data, output / FURTHER)
    for count in range(1, len(content["stage"]) + 1):
        whole = make_plan(content, data, models, output)
        plan = replace(whole, stages=whole.stages[:count])
        if not plan.stages[-1].cached and not goes_on():
            return False
        label = f"{plan.task.name} {plan.recipe.seed}"
        found = run_stages(
            plan, output, tell=lambda line, label=label: print(label, line, flush=True), progress=True
        )
        note(plan, found, results)
    save_report(plan, found, output, plan.recipe.task, tell=print)
    return True


def note(plan: Plan, found: list[StageResult], results: Path) -> None:
    """Writes the lines of these stages of a task and seed anew; others stay, as of stages that are still to come."""
    answers = {result.planned.stage.name: result.answers for result in found}
    lines = [_line(plan, result, answers) for result in found]
    places = {_place(line) for line in lines}
    kept = [line for line in read(results) if _place(line) not in places]
    results.write_text("".join(f"{json.dumps(line)}\n" for line in [*kept, *lines]), encoding="utf-8")


def _place(line: dict[str, Any]) -> tuple[str, int, str]:
    return line["task"], line["seed"], line["stage"]


def _line(plan: Plan, result: StageResult, answers: dict[str, list[int | float]]) -> dict[str, Any]:
    stage = result.planned.stage
    changed = None
    if stage.kind == "compile":
        pairs = zip(result.answers, answers[stage.inputs["model"]], strict=True)
        changed = sum(one != other for one, other in pairs) / len(result.answers)
    return {
        "task": plan.recipe.task,
        "seed": plan.recipe.seed,
        "stage": stage.name,
        "kind": stage.kind,
        "score": round(result.metrics["score"], 3),
        "metrics": {name: round(value, 5) for name, value in result.metrics.items()},
        "changed": changed,
        "constant": round(constant_score(plan.task, plan.val), 1),
        "examples": [len(plan.train), len(plan.val)],
        "seconds": round(result.seconds, 1),
        "settings": dict(stage.options.text),
    }


def constant_score(task: Task, examples: Sequence[Example]) -> float:
    """The best score of a model that gives every text the same answer; where one is picked, the first of equal ones."""
    answers = np.eye(task.num_labels, dtype=np.float32)
    return max(evaluate(task, examples, np.tile(answer, (len(examples), 1)))["score"] for answer in answers)


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
    parser.add_argument("--large", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--work", type=Path, default=Path("accuracy-work"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    known = [stage["name"] for stage in read_toml(HERE / "ladder.toml")["stage"]]
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=known,
        metavar="STAGE",
        help="only these of ladder.toml; name those that they read, too",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    models = {"large": options.large, "base": options.base}
    for seed in options.seeds:
        for task in options.tasks:
            content = make_content(task, seed, options.precision, options.stages)
            output = options.work / f"{task}-{seed}"
            if not run_task(
                content, options.data, models, output, options.results, lambda: time.monotonic() < end
            ):
                print(
                    f"{options.minutes:g} minutes are over: the same command goes on with {task}, seed {seed}"
                )
                return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
