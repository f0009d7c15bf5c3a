# SPDX-License-Identifier: MIT
"""Searches for the student that meets a budget of accuracy, of speed, or of both: training only what is fast enough.

How fast a student is does not depend on its weights. So every proposal is first cut out of the untrained checkpoint,
compiled and timed beside the teacher, which takes seconds; only those that meet the speed asked for are trained. The
proposals come from optuna, and stages are cached as in any recipe: two students of one depth share a distillation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn

from fastformers import kernels
from fastformers._optional import require
from fastformers.config import CompileConfig, PruneConfig
from fastformers.distillation import make_student
from fastformers.errors import ConfigError, GateError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.measuring import Spread
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import LayerShape, shapes_of
from fastformers.pruning import prune_
from fastformers.recipes import compiling
from fastformers.recipes.estimate import estimate_plan
from fastformers.recipes.model_folder import OpenedModel, open_for_task
from fastformers.recipes.recipe_plan import Plan, plan_recipe
from fastformers.recipes.recipe_report import table
from fastformers.recipes.recipe_run import describe_plan, make_plan, run_stages
from fastformers.recipes.recipe_stages import SHAPING
from fastformers.recipes.search_space import Candidate, SearchSpace, layers_kept
from fastformers.recipes.speed import Timed, time_models
from fastformers.tasks import TaskFile

__all__ = ["SEARCH", "SearchPoint", "SearchReport", "describe_search", "search"]

SEARCH = "search.json"

_SCHEMA = "fastformers-search/1"
_TEXTS_TO_TIME = 32
_SECONDS_TO_TIME = 6.0
#: Points of a score: 100 x 0.59 - 100 x 0.58 is a little more than 1 in floats, and a budget of 1 allows it.
_ROUNDING = 1e-9
#: Proposals in all, per student trained: most proposals of a narrow budget are too slow, and cost seconds.
_PROPOSALS_PER_TRIAL = 8


@dataclass(frozen=True)
class SearchPoint:
    """A student that was trained.

    Attributes:
        candidate: its shape.
        score: of the task on the validation set, 0 to 100.
        drop: points lost against the teacher.
        speedup: times as fast as the teacher: one text at a time, not padded, one thread.
        folder: of the compiled encoder.
        milliseconds: of a text, timed as ``speedup`` is.
        heads: of each layer.
        ffn: neurons of each feed-forward layer.
        on_frontier: no other one is both as accurate and as fast.
    """

    candidate: Candidate
    score: float
    drop: float
    speedup: Spread
    folder: str
    milliseconds: float
    heads: int
    ffn: int
    on_frontier: bool = False


@dataclass(frozen=True)
class SearchReport:
    """What a search found.

    Attributes:
        task: name.
        metric: what the scores are.
        machine: processor and kernels timed with, for people.
        teacher_score: 0 to 100; ``None`` where no student was fast enough to be trained, and so no teacher was.
        max_drop: budget in points; ``None`` for none.
        target_speedup: budget; ``None`` for none.
        points: students trained, fastest first.
        too_slow: names of proposals that were timed and not trained, with their speed-ups.
        chosen: name of the student that meets the budgets, the fastest if there are several.
    """

    task: str
    metric: str
    machine: str
    teacher_score: float | None
    max_drop: float | None
    target_speedup: float | None
    points: tuple[SearchPoint, ...]
    too_slow: Mapping[str, float]
    chosen: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {"schema": _SCHEMA, **asdict(self)}

    def __str__(self) -> str:
        """Returns the table of students, and the one chosen."""
        rows = [
            (
                point.candidate.name,
                "frontier" if point.on_frontier else "",
                f"{point.score:.1f}",
                f"{0.0 - point.drop:+.1f}",
                f"{point.speedup.median:.1f}",
                "<- chosen" if point.candidate.name == self.chosen else "",
            )
            for point in self.points
        ]
        teacher = "not trained" if self.teacher_score is None else f"{self.teacher_score:.1f}"
        lines = [
            f"{self.task}: teacher {teacher}; {len(self.points)} students trained, "
            f"{len(self.too_slow)} timed and too slow",
            table(("student", "", "score", "points", "faster", ""), rows),
            "points and faster: against the teacher, one text at a time on one thread, not padded",
        ]
        return "\n".join(lines)


def search(
    path: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    models: Mapping[str, str | Path] | None = None,
    max_drop: float | None = None,
    target_speedup: float | None = None,
    progress: bool = True,
) -> SearchReport:
    """Searches the students of a recipe's ``[search]`` table.

    Args:
        path: as for :func:`fastformers.recipe`, as are the four that follow.
        output: folder of the results.
        data: folder of the data.
        models: folders of the recipe's models.
        progress: show it.
        max_drop: points of the task's score that may be lost against the teacher.
        target_speedup: times as fast as the teacher: one text at a time, not padded, one thread.

    Returns:
        The frontier and the chosen student; also saved as ``search.json``, which ``fastformers plot`` draws.

    Raises:
        GateError: no student meets the budgets; says which one cannot be met, and what came closest. The report is
            saved all the same.
        ConfigError, FormatError, MissingExtraError: as :func:`fastformers.recipe`; neither budget is given, or one is
            out of range.

    Example:
        >>> ff.search("boolq", "out", data="superglue", models=folders, max_drop=1.0)  # doctest: +SKIP
    """
    require("optuna", "train", "a search")
    if max_drop is None and target_speedup is None:
        raise ConfigError("a search needs a budget: max_drop, target_speedup or both")
    for name, budget, least in (("max_drop", max_drop, 0.0), ("target_speedup", target_speedup, 1.0)):
        if budget is not None and not (isfinite(budget) and budget >= least):
            raise ConfigError(f"{name} is {budget!r}; allowed: a finite number from {least:g}")
    plan = make_plan(path, output, data=data, models=models)
    space = SearchSpace.of(plan.recipe)
    Path(output).mkdir(parents=True, exist_ok=True)
    run = _Search(plan, space, Path(output), max_drop, target_speedup, progress)
    report = run.run()
    replace_file(Path(output) / SEARCH, json_bytes(report.to_dict()))
    if not report.chosen:
        raise GateError(_what_cannot_be_met(report))
    return report


def describe_search(plan: Plan) -> str:
    """Returns what a search would do, as text: the teacher's stages, the space, and at most how long it takes."""
    space = SearchSpace.of(plan.recipe)
    candidates = list(space.candidates())
    largest = space.recipe_for(plan.recipe, max(candidates), max(space.depth))
    longest = plan_recipe(largest, Path(plan.stages[0].folder.parent))
    seconds = sum(estimate.seconds for estimate in estimate_plan(longest).values())
    return "\n".join(
        (
            describe_plan(longest),
            f"that is the largest of {len(candidates)} students; at most {space.trials} are trained, each in about "
            f"{seconds / 60:.0f} min or less",
        )
    )


class _Search:
    """One search: timing, training and choosing."""

    def __init__(
        self,
        plan: Plan,
        space: SearchSpace,
        output: Path,
        max_drop: float | None,
        target_speedup: float | None,
        progress: bool,
    ) -> None:
        self._plan, self._space, self._output = plan, space, output
        self._max_drop, self._target = max_drop, target_speedup
        self._progress = progress
        own = space.training.get("activation")
        self._teacher = self._untrained(*self._checkpoint("teacher", space.teacher, None))
        self._student = self._untrained(*self._checkpoint("student", space.student, own))
        self._layers = len(parts_of(self._student.model).layers)
        for depth in space.depth:
            layers_kept(depth, self._layers)
        self._speeds: dict[Candidate, Spread] = {}
        self._milliseconds: dict[Candidate, float] = {}
        self._shapes: dict[Candidate, LayerShape] = {}
        self._points: dict[Candidate, SearchPoint] = {}
        self._teacher_score: float | None = None

    def run(self) -> SearchReport:
        candidates = list(self._space.candidates())
        fastest, largest = min(candidates, key=_work), max(candidates, key=_work)
        for candidate in (fastest, largest):
            if len(self._points) < self._space.trials:
                self._try(candidate)
        if self._target is None or self._speed(fastest).median >= self._target:
            self._propose(candidates)
        return self._report()

    def _propose(self, candidates: Sequence[Candidate]) -> None:
        """Lets optuna propose students until enough are trained or all have been tried."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.NSGAIISampler(seed=self._plan.recipe.seed, population_size=8)
        study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
        choices = {name: sorted({getattr(each, name) for each in candidates}) for name in _FIELDS}
        for known in self._points.values():
            study.enqueue_trial({name: getattr(known.candidate, name) for name in _FIELDS})
        for _ in range(_PROPOSALS_PER_TRIAL * self._space.trials):
            if len(self._points) >= self._space.trials or len(self._speeds) == len(candidates):
                break
            trial = study.ask()
            candidate = Candidate(
                **{name: trial.suggest_categorical(name, choices[name]) for name in _FIELDS}
            )
            point = self._try(candidate)
            if point is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, [point.score, point.speedup.median])

    def _try(self, candidate: Candidate) -> SearchPoint | None:
        """Times a student and, where it is fast enough, trains it; known ones cost nothing."""
        speed = self._speed(candidate)
        if self._target is not None and speed.median < self._target:
            return None
        if candidate not in self._points:
            self._points[candidate] = self._train(candidate, speed)
        return self._points[candidate]

    def _train(self, candidate: Candidate, speed: Spread) -> SearchPoint:
        recipe = self._space.recipe_for(self._plan.recipe, candidate, self._layers)
        plan = plan_recipe(recipe, self._output)
        self._tell(f"student {candidate.name}: {speed.median:.1f} times as fast as the teacher")
        results = run_stages(plan, self._output, tell=self._tell, progress=self._progress)
        scores = {result.planned.stage.name: result.metrics["score"] for result in results}
        teacher, score = scores[self._space.teacher], scores[candidate.name]
        self._teacher_score = teacher
        self._tell(f"student {candidate.name}: {score:.1f}, teacher {teacher:.1f}")
        folder = str(results[-1].planned.folder)
        shape = self._shapes[candidate]
        return SearchPoint(
            candidate,
            score,
            teacher - score,
            speed,
            folder,
            self._milliseconds[candidate],
            shape.heads,
            shape.intermediate,
        )

    def _speed(self, candidate: Candidate) -> Spread:
        if candidate not in self._speeds:
            teacher, student = self._teacher, self._student
            texts = self._plan.val[:: max(1, len(self._plan.val) // _TEXTS_TO_TIME)][:_TEXTS_TO_TIME]
            encoded = student.encode(texts)
            fast = self._cut(candidate)
            timed = {
                "teacher": Timed(teacher.model, teacher.encode(texts)),
                "student": Timed(fast, encoded),
            }
            milliseconds, speedup = time_models(timed, encoded.lengths, _SECONDS_TO_TIME)["student"]
            self._speeds[candidate], self._milliseconds[candidate] = speedup, milliseconds.median
        return self._speeds[candidate]

    def _cut(self, candidate: Candidate) -> nn.Module:
        """A compiled encoder of the candidate's shape, its weights of no use."""
        model = make_student(self._student.model, layers=layers_kept(candidate.depth, self._layers))
        if candidate.is_pruned:
            shares = {name: share for name in ("heads", "ffn") if (share := getattr(candidate, name)) < 1}
            prune_(model, PruneConfig(scores="random", **shares))
        self._shapes[candidate] = shapes_of(model)[0]  # shares leave every layer alike
        config = CompileConfig() if candidate.int8 else CompileConfig(int8=None)
        return compiling.compile(model, config, tokenizer=self._student.tokenizer if candidate.int8 else None)

    def _untrained(self, folder: Path, activation: str | None) -> OpenedModel:
        """The model of a checkpoint with the task's head, before any stage has run."""
        found = self._plan.recipe
        opened = open_for_task(folder, self._plan.task, seed=found.seed)
        if activation is not None:
            opened = replace(opened, model=make_student(opened.model, activation=activation))
        return replace(opened, task_file=TaskFile(self._plan.task, found.max_length, found.truncation))

    def _checkpoint(self, role: str, name: str, activation: str | None) -> tuple[Path, str | None]:
        """The checkpoint that a model begins as, followed back through the stages that train it, and its activation."""
        stages = {stage.name: stage for stage in self._plan.recipe.stages}
        while name in stages:
            stage = stages[name]
            if stage.kind not in ("train", "distill") or stage.options.arguments.keys() & {*SHAPING}:
                raise ConfigError(
                    f"[search] {role} goes back to stage {name!r}, which changes the shape of its model: a search "
                    "needs one that only trains"
                )
            activation = activation or stage.options.arguments.get("activation")
            name = stage.inputs["student" if stage.kind == "distill" else "model"]
        folder = self._plan.recipe.models[name]
        assert folder is not None
        return folder, activation

    def _report(self) -> SearchReport:
        points = sorted(self._points.values(), key=lambda point: -point.speedup.median)
        marked = tuple(
            SearchPoint(**{**vars(point), "on_frontier": _on_frontier(point, points)}) for point in points
        )
        fits = [
            point for point in marked if self._max_drop is None or point.drop <= self._max_drop + _ROUNDING
        ]
        if self._max_drop is None:  # among those fast enough, the most accurate
            fits.sort(key=lambda point: point.drop)
        slow = {
            candidate.name: speed.median
            for candidate, speed in self._speeds.items()
            if candidate not in self._points
        }
        return SearchReport(
            task=self._plan.task.name,
            metric=self._plan.task.main_metric,
            machine=f"{kernels.cpu_facts()['model']}, {kernels.active_isa()}",
            teacher_score=self._teacher_score,
            max_drop=self._max_drop,
            target_speedup=self._target,
            points=marked,
            too_slow=slow,
            chosen=fits[0].candidate.name if fits else "",
        )

    def _tell(self, line: str) -> None:
        if self._progress:
            print(line)


_FIELDS = ("depth", "heads", "ffn", "int8")


def _work(candidate: Candidate) -> tuple[float, bool]:
    """Orders candidates by their multiplications, INT8 before float32."""
    return candidate.depth * (candidate.heads + 2 * candidate.ffn), not candidate.int8


def _on_frontier(point: SearchPoint, points: Sequence[SearchPoint]) -> bool:
    def better(other: SearchPoint) -> bool:
        as_good = other.score >= point.score and other.speedup.median >= point.speedup.median
        return as_good and (other.score, other.speedup.median) != (point.score, point.speedup.median)

    return not any(better(other) for other in points)


def _what_cannot_be_met(report: SearchReport) -> str:
    if not report.points:
        name, speed = max(report.too_slow.items(), key=lambda item: item[1])
        return (
            f"target_speedup {report.target_speedup:g} cannot be met: the fastest student of the space, {name}, is "
            f"{speed:.1f} times as fast as the teacher; allow fewer layers, heads or neurons in [search]"
        )
    best = min(report.points, key=lambda point: point.drop)
    among = "" if report.target_speedup is None else f" at {report.target_speedup:g} times the speed or more"
    return (
        f"max_drop {report.max_drop:g} cannot be met{among}: of {len(report.points)} students trained the best, "
        f"{best.candidate.name}, loses {best.drop:.1f} points ({best.speedup.median:.1f} times as fast); train longer, "
        "allow larger students, or ask for less speed"
    )
