# SPDX-License-Identifier: MIT
"""Runs a recipe: stages that are not there yet, then scores, times of a text, and the report.

A killed run loses at most the work since the last checkpoint of the stage that was running: finished stages are noted
one by one, and training stages resume from their own checkpoints.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.modules.encoder_names import positions_of
from fastformers.recipes.distilling_data import in_common
from fastformers.recipes.model_folder import OpenedModel, open_model
from fastformers.recipes.one_run import only_run
from fastformers.recipes.output_names import PICTURE, REPORT, work_folder
from fastformers.recipes.plan_checks import check_stages
from fastformers.recipes.recipe_file import Recipe, read_recipe
from fastformers.recipes.recipe_plan import Ledger, Plan, PlannedStage, plan_recipe
from fastformers.recipes.recipe_report import RecipeReport, RecipeRow, draw
from fastformers.recipes.recipe_stages import KINDS, Context
from fastformers.recipes.scoring import score_model
from fastformers.recipes.speed import Speed, Timed, spread_over, time_models, timed_with
from fastformers.tasks import Example, load_examples
from fastformers.tasks.label_notes import label_notes
from fastformers.tasks.loading import check_head

__all__ = [
    "StageResult",
    "make_plan",
    "recipe",
    "run_locked",
    "run_stages",
    "save_report",
]


_CONVERSIONS = ("quantize", "compile")
_TEXTS_TO_TIME = 48
#: Names no stage: a stage's name begins with a letter or a digit.
_PADDED = "(padded)"
_WEIGHTS = "model.safetensors"
#: Folder of teachers' logits, beside the stages' folders; no stage can have this name.
_LOGITS = ".teacher-logits"
_BYTES_PER_MB = 1e6

Tell = Callable[[str], None]

_LOG = logging.getLogger(__name__)


def recipe(
    path: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    models: Mapping[str, str | Path] | None = None,
    progress: bool = True,
) -> RecipeReport:
    """Runs the stages of a recipe that are not there yet, and reports on all.

    Args:
        path: a recipe file, or the name of one that comes with the package, e.g. ``"boolq"``.
        output: folder of the results, one folder a stage; made if need be. Stages found there are not run again as
            long as nothing they depend on has changed.
        data: folder of the data instead of the recipe's.
        models: folders of the recipe's models, by name.
        progress: show it.

    Returns:
        The report, which is also saved in ``report.json`` and drawn in ``report.png``.

    Raises:
        ConfigError: the recipe is refused, or something it needs is missing; a folder that the recipe did not make is
            in the way.
        FormatError: the recipe or the data is malformed; names file and line.
        MissingExtraError: the extra ``train`` is not installed.

    Example:
        >>> ff.recipe("boolq", "out", data="superglue", models={"base": "minilm"})  # doctest: +SKIP
    """
    plan = make_plan(path, output, data=data, models=models)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    tell: Tell = _LOG.info if not progress else print
    results = run_stages(plan, folder, tell=tell, progress=progress)
    return save_report(plan, results, folder, Path(path).stem, tell=tell)


def save_report(
    plan: Plan, results: Sequence[StageResult], output: Path, name: str, *, tell: Tell
) -> RecipeReport:
    """Times the models of all stages beside each other, and writes ``report.json`` and ``report.png``.

    Args:
        plan: the plan.
        results: of all its stages, as :func:`run_stages` gives them.
        output: folder of the results.
        name: of the recipe.
        tell: takes one line.
    """
    tell(f"timing {len(results)} models beside each other")
    report = _report(plan, results, name)
    replace_file(output / REPORT, json_bytes(report.to_dict()))
    draw(report, output / PICTURE)
    return report


def make_plan(
    path: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    models: Mapping[str, str | Path] | None = None,
) -> Plan:
    """Reads a recipe and finds out what has to run; writes nothing. Arguments and errors as :func:`recipe`."""
    from fastformers.recipes.ready import find_recipe

    found: Recipe = read_recipe(find_recipe(path))
    given = {name: Path(folder) for name, folder in (models or {}).items()}
    plan = plan_recipe(found.with_paths(None if data is None else Path(data), given), Path(output))
    check_stages(plan.recipe, plan.task)
    for stage in plan.recipe.stages:
        check_head(stage.options.arguments.get("head"), plan.train, f"stage {stage.name!r}: ")
    return plan


@dataclass(frozen=True)
class StageResult:
    """A stage's result before it is timed.

    Attributes:
        planned: the stage.
        metrics: of the task, on the validation set.
        answers: to the validation set.
        seconds: the stage took when it ran; of a run that was killed, until its last checkpoint.
        notes: examples that it left out.
    """

    planned: PlannedStage
    metrics: dict[str, float]
    answers: list[int | float]
    seconds: float
    notes: tuple[str, ...] = ()


def run_stages(plan: Plan, output: Path, *, tell: Tell, progress: bool) -> list[StageResult]:
    """Runs what is not cached and scores every stage.

    Args:
        plan: the plan.
        output: folder of the results; exists.
        tell: takes one line a stage.
        progress: stages show their own.

    Raises:
        ConfigError: another run is using the folder, or one that the recipe did not make is in the way.
        FastformersError: as the stages.
    """
    with only_run(output):
        return run_locked(plan, output, tell=tell, progress=progress)


def run_locked(
    plan: Plan, output: Path, *, tell: Tell, progress: bool, teachers: Collection[str] = ()
) -> list[StageResult]:
    """:func:`run_stages` for a caller that keeps others out of the folder, by :func:`.one_run.only_run`.

    Args:
        plan: the plan.
        output: folder of the results; exists.
        tell: takes one line a stage.
        progress: stages show their own.
        teachers: stages whose answers are kept for students that come later, besides those of the plan's students.
    """
    ledger = Ledger(output)
    heard = {*teachers, *(planned.stage.inputs.get("teacher") for planned in plan.stages)}
    _check_places(plan, ledger)
    results = []
    for planned in plan.stages:
        name = planned.stage.name
        if not planned.cached:
            tell(f"{name}: {planned.stage.kind}")
            _run(plan, planned, ledger, progress)
        entry = ledger.result(name)
        if "metrics" not in entry:
            tell(f"{name}: scoring on the validation set")
            cache = output / _LOGITS if name in heard else None
            opened = open_model(planned.folder)
            scored = score_model(opened, _validation(plan, opened), cache_dir=cache)
            entry = {**entry, "metrics": scored.metrics, "answers": scored.answers}
            ledger.note(name, entry)
        notes = _left_out(plan, planned, entry)
        results.append(StageResult(planned, entry["metrics"], entry["answers"], entry["seconds"], notes))
    return results


def _check_places(plan: Plan, ledger: Ledger) -> None:
    """Refuses folders that are in the way of later stages, too, before the first one takes its hours."""
    for planned in plan.stages:
        if planned.folder.exists() and not ledger.entry(planned.stage.name):
            raise ConfigError(
                f"{planned.folder} exists and was not made by this recipe: move it away, or choose another output "
                "folder"
            )


def _left_out(plan: Plan, planned: PlannedStage, entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What a stage did not learn from or answer, in words: examples that lost a marked span to the cut."""
    counts = {"validation": (len(plan.val), len(entry["answers"]), "scored")}
    if planned.stage.kind in ("train", "distill"):
        given = len(plan.train) + len(planned.further)
        counts["training"] = (given, int(entry["report"].get("examples", given)), "learned from")
    return tuple(
        f"{planned.stage.name}: {given - used} of {given} {name} examples lost a marked span to the cut and are not "
        f"{done}"
        for name, (given, used, done) in counts.items()
        if used < given
    )


def _validation(plan: Plan, opened: OpenedModel) -> Sequence[Example]:
    """The validation set with labels numbered as the model's outputs: a given teacher may have an order of its own."""
    task = opened.required_task().task
    if task.labels == plan.task.labels:
        return plan.val
    assert plan.recipe.data is not None
    return load_examples(task, plan.recipe.data, "val")


def _run(plan: Plan, planned: PlannedStage, ledger: Ledger, progress: bool) -> None:
    stage, found = planned.stage, plan.recipe
    assert found.data is not None
    work = work_folder(planned.folder)
    if ledger.begun(stage.name) != planned.key:  # checkpoints of a run that this one does not go on with
        shutil.rmtree(work, ignore_errors=True)
    ledger.begin(stage.name, planned.key, work)
    start = time.perf_counter()
    report = KINDS[stage.kind].run(
        stage.options,
        Context(
            inputs=planned.inputs,
            data=found.data,
            output=planned.folder,
            logits=planned.folder.with_name(_LOGITS),
            overwrite=True,
            task=found.task,
            regression=found.regression,
            max_length=found.max_length if "max_length" in found.named else None,
            truncation=found.truncation if "truncation" in found.named else None,
            seed=found.seed,
            progress=progress,
        ),
    )
    seconds = ledger.spent(stage.name) + time.perf_counter() - start
    ledger.note(stage.name, {"key": planned.key, "seconds": seconds, "report": dict(report)})


def _report(plan: Plan, results: Sequence[StageResult], name: str) -> RecipeReport:
    speeds = _time(plan, results)
    answers = {result.planned.stage.name: result.answers for result in results}
    first = results[0].metrics["score"]
    rows = tuple(
        RecipeRow(
            name=result.planned.stage.name,
            kind=result.planned.stage.kind,
            inputs=dict(result.planned.stage.inputs),
            score=result.metrics["score"],
            drop=first - result.metrics["score"],
            metrics=result.metrics,
            changed=None if plan.task.kind == "regression" else _changed(result, answers),
            milliseconds=speeds[result.planned.stage.name][0],
            speedup=speeds[result.planned.stage.name][1],
            megabytes=(result.planned.folder / _WEIGHTS).stat().st_size / _BYTES_PER_MB,
            seconds=result.seconds,
            cached=result.planned.cached,
            scored=len(result.answers),
        )
        for result in results
    )
    return RecipeReport(
        task=plan.task.name,
        metric=plan.task.main_metric,
        examples=(len(plan.train), len(plan.val)),
        padded=speeds[_PADDED],
        rows=rows,
        recipe=name,
        seed=plan.recipe.seed,
        machine=timed_with(),
        notes=(
            *label_notes(plan.task, plan.val),
            *(note for result in results for note in result.notes),
        ),
    )


def _padded_length(model: Any, wanted: int, longest: int) -> int:
    """What the paper's baseline pads to here: the recipe's length, but as many tokens as the longest text has.

    A recipe's length may be more than the model has positions for; and a given model may cut texts later than it.
    """
    return max(longest, min(wanted, positions_of(model) or wanted))


def _changed(result: StageResult, answers: Mapping[str, list[int | float]]) -> float | None:
    stage = result.planned.stage
    if stage.kind not in _CONVERSIONS or stage.inputs["model"] not in answers:
        return None
    pairs = zip(result.answers, answers[stage.inputs["model"]], strict=True)
    return sum(one != other for one, other in pairs) / len(result.answers)


def _time(plan: Plan, results: Sequence[StageResult]) -> dict[str, Speed]:
    texts = spread_over(plan.val, _TEXTS_TO_TIME)
    opened = {result.planned.stage.name: open_model(result.planned.folder) for result in results}
    encoded = in_common([each.encode(texts) for each in opened.values()])
    models = {name: Timed(each.model, own) for (name, each), own in zip(opened.items(), encoded, strict=True)}
    first, lengths = next(iter(opened.values())), encoded[0].lengths
    length = _padded_length(first.model, plan.recipe.max_length, max(lengths))
    return time_models({**models, _PADDED: Timed(first.model, encoded[0], length)}, lengths)
