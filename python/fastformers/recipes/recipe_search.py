# SPDX-License-Identifier: MIT
"""Searches for the student that meets a budget of accuracy, of speed, or of both: training only what is fast enough.

How fast a student is does not depend on its weights. So every proposal is first cut out of the untrained checkpoint,
compiled and timed beside the teacher, which takes seconds; only those that meet the speed asked for are trained. The
proposals come from optuna, and stages are cached as in any recipe: two students of one depth share a distillation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn

from fastformers import __version__
from fastformers._optional import require
from fastformers.config import CompileConfig, PruneConfig
from fastformers.distillation import make_student
from fastformers.errors import ConfigError, FastformersError, GateError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.measuring import Spread
from fastformers.modules.layer_shapes import LayerShape, shapes_of
from fastformers.pruning import prune_
from fastformers.recipes import compiling
from fastformers.recipes.distilling_data import in_common
from fastformers.recipes.model_folder import OpenedModel, open_for_task
from fastformers.recipes.one_run import only_run
from fastformers.recipes.output_names import SEARCH
from fastformers.recipes.recipe_plan import Plan, digest_of, digest_of_folder, plan_recipe
from fastformers.recipes.recipe_report import table
from fastformers.recipes.recipe_run import StageResult, make_plan, run_locked
from fastformers.recipes.search_checks import Start, check_search, starting_checkpoint
from fastformers.recipes.search_space import (
    PROPOSALS_PER_TRIAL,
    SECONDS_TO_TIME,
    Candidate,
    SearchSpace,
    layers_kept,
    most_timed,
)
from fastformers.recipes.search_times import SearchTimes, Timing
from fastformers.recipes.speed import Timed, spread_over, time_models, timed_with
from fastformers.tasks import TaskFile
from fastformers.tasks.loading import check_head

__all__ = ["SearchPoint", "SearchReport", "search"]

_SCHEMA = "fastformers-search/1"
_TEXTS_TO_TIME = 32
#: Points of a score: 100 x 0.59 - 100 x 0.58 is a little more than 1 in floats, and a budget of 1 allows it.
_ROUNDING = 1e-9


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
        failed: names of students that could not be made or trained, with the reasons.
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
    failed: Mapping[str, str] = field(default_factory=dict)

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
            *(f"note: {name} could not be trained: {reason}" for name, reason in self.failed.items()),
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
        GateError: no student meets the budgets; says which one cannot be met, and what came closest; or none could be
            trained, and why. The report is saved all the same.
        ConfigError, FormatError, MissingExtraError: as :func:`fastformers.recipe`; neither budget is given, or one is
            out of range; or a student of the space cannot be made.
        FastformersError: the teacher cannot be trained.

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
    layers = check_search(plan.recipe, space, plan.task)
    check_head(space.training.get("head"), plan.train, "[search] ")
    Path(output).mkdir(parents=True, exist_ok=True)
    with only_run(Path(output)):
        report = _Search(plan, space, layers, Path(output), max_drop, target_speedup, progress).run()
        replace_file(Path(output) / SEARCH, json_bytes(report.to_dict()))
    if not report.chosen:
        raise GateError(_what_cannot_be_met(report))
    return report


class _Search:
    """One search: timing, training and choosing."""

    def __init__(
        self,
        plan: Plan,
        space: SearchSpace,
        layers: int,
        output: Path,
        max_drop: float | None,
        target_speedup: float | None,
        progress: bool,
    ) -> None:
        self._plan, self._space, self._layers, self._output = plan, space, layers, output
        self._max_drop, self._target = max_drop, target_speedup
        self._progress = progress
        teacher = starting_checkpoint(plan.recipe, "teacher", space.teacher)
        student = starting_checkpoint(plan.recipe, "student", space.student).with_options(space.training)
        self._teacher, self._student = self._untrained(teacher), self._untrained(student)
        self._times = SearchTimes(output, self._timed((teacher, student)))
        self._timings: dict[Candidate, Timing] = {}
        self._points: dict[Candidate, SearchPoint] = {}
        self._failed: dict[Candidate, str] = {}
        self._teacher_score: float | None = None

    def _timed(self, starts: Sequence[Start]) -> str:
        """Names all that times depend on but a student's shape."""
        found = self._plan.recipe
        return digest_of(
            [
                [[digest_of_folder(start.folder), start.activation, start.head] for start in starts],
                [self._plan.task.name, self._plan.task.labels, found.max_length, found.truncation],
                digest_of(self._plan.val),
                [timed_with(), __version__],
            ]
        )

    def run(self) -> SearchReport:
        candidates = list(self._space.candidates())
        fastest, largest = min(candidates, key=_work), max(candidates, key=_work)
        for candidate in (fastest, largest):
            if not self._is_full():
                self._try(candidate)
        if self._target is None or fastest in self._failed or self._speed(fastest).median >= self._target:
            self._propose(candidates)
        return self._report()

    def _is_full(self) -> bool:
        return len(self._points) + len(self._failed) >= self._space.trials

    def _propose(self, candidates: Sequence[Candidate]) -> None:
        """Lets optuna propose students until enough are trained or all have been tried."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.NSGAIISampler(seed=self._plan.recipe.seed, population_size=8)
        study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
        choices = {name: sorted({getattr(each, name) for each in candidates}) for name in _FIELDS}
        for known in self._points.values():
            study.enqueue_trial({name: getattr(known.candidate, name) for name in _FIELDS})
        for _ in range(PROPOSALS_PER_TRIAL * self._space.trials):
            if self._is_full() or self._tried() == len(candidates):
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
        self._try_the_rest(candidates)

    def _try_the_rest(self, candidates: Sequence[Candidate]) -> None:
        """Tries students that optuna left out, the largest first: most of its proposals may be known already."""
        for candidate in sorted(candidates, key=_work, reverse=True):
            if self._is_full() or self._tried() >= most_timed(self._space.trials):
                break
            if not self._is_larger_than_a_slow_one(candidate):
                self._try(candidate)

    def _is_larger_than_a_slow_one(self, candidate: Candidate) -> bool:
        slow = (
            other
            for other, timing in self._timings.items()
            if self._target is not None and timing.speedup.median < self._target
        )
        return any(candidate.contains(other) for other in slow)

    def _tried(self) -> int:
        return len({*self._timings, *self._failed})

    def _try(self, candidate: Candidate) -> SearchPoint | None:
        """Times a student and, where it is fast enough, trains it; known ones cost nothing."""
        if candidate in self._failed:
            return None
        try:
            speed = self._speed(candidate)
            if self._target is not None and speed.median < self._target:
                return None
        except FastformersError as error:
            self._leave_out(candidate, error)
            return None
        if candidate not in self._points:
            teacher = self._taught()  # whose failure is that of all students
            try:
                self._points[candidate] = self._train(candidate, teacher)
            except FastformersError as error:
                self._leave_out(candidate, error)
                return None
        return self._points[candidate]

    def _leave_out(self, candidate: Candidate, error: FastformersError) -> None:
        """Notes that a student cannot be made: the others can."""
        self._failed[candidate] = str(error)
        self._tell(f"student {candidate.name} is left out: {error}")

    def _taught(self) -> float:
        """The teacher's score; makes what all students need first."""
        if self._teacher_score is None:
            shared = self._plan.stages[: self._space.shared_stages(self._plan.recipe)]
            results = self._run(replace(self._plan, stages=shared))
            scores = {result.planned.stage.name: result.metrics["score"] for result in results}
            self._teacher_score = scores[self._space.teacher]
        return self._teacher_score

    def _train(self, candidate: Candidate, teacher: float) -> SearchPoint:
        recipe = self._space.recipe_for(self._plan.recipe, candidate, self._layers)
        timing = self._timings[candidate]
        self._tell(f"student {candidate.name}: {timing.speedup.median:.1f} times as fast as the teacher")
        last = self._run(plan_recipe(recipe, self._output))[-1]
        score = last.metrics["score"]
        self._tell(f"student {candidate.name}: {score:.1f}, teacher {teacher:.1f}")
        return SearchPoint(
            candidate,
            score,
            teacher - score,
            timing.speedup,
            str(last.planned.folder),
            timing.milliseconds,
            timing.heads,
            timing.ffn,
        )

    def _run(self, plan: Plan) -> list[StageResult]:
        return run_locked(
            plan,
            self._output,
            tell=self._tell,
            progress=self._progress,
            teachers={self._space.teacher},
        )

    def _speed(self, candidate: Candidate) -> Spread:
        if candidate not in self._timings:
            known = self._times.get(candidate)
            if known is None:
                known = self._time(candidate)
                self._times.keep(candidate, known)
            self._timings[candidate] = known
        return self._timings[candidate].speedup

    def _time(self, candidate: Candidate) -> Timing:
        teacher, student = self._teacher, self._student
        texts = spread_over(self._plan.val, _TEXTS_TO_TIME)
        theirs, ours = in_common([each.encode(texts) for each in (teacher, student)])
        fast, shape = self._cut(candidate)
        timed = {"teacher": Timed(teacher.model, theirs), "student": Timed(fast, ours)}
        milliseconds, speedup = time_models(timed, ours.lengths, SECONDS_TO_TIME)["student"]
        return Timing(milliseconds.median, speedup, shape.heads, shape.intermediate)

    def _cut(self, candidate: Candidate) -> tuple[nn.Module, LayerShape]:
        """A compiled encoder of the candidate's shape, its weights of no use, and the shape of its layers."""
        model = make_student(self._student.model, layers=layers_kept(candidate.depth, self._layers))
        if candidate.is_pruned:
            shares = {name: share for name in ("heads", "ffn") if (share := getattr(candidate, name)) < 1}
            prune_(model, PruneConfig(scores="random", **shares))
        shape = shapes_of(model)[0]  # shares leave every layer alike
        config = CompileConfig() if candidate.int8 else CompileConfig(int8=None)
        tokenizer = self._student.tokenizer if candidate.int8 else None
        return compiling.compile(model, config, tokenizer=tokenizer), shape

    def _untrained(self, start: Start) -> OpenedModel:
        """The model of a checkpoint with its head, before any stage has run."""
        found = self._plan.recipe
        opened = open_for_task(start.folder, self._plan.task, seed=found.seed, head=start.head)
        if start.activation is not None:
            opened = replace(opened, model=make_student(opened.model, activation=start.activation))
        return replace(opened, task_file=TaskFile(self._plan.task, found.max_length, found.truncation))

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
            candidate.name: timing.speedup.median
            for candidate, timing in self._timings.items()
            if candidate not in self._points and candidate not in self._failed
        }
        return SearchReport(
            task=self._plan.task.name,
            metric=self._plan.task.main_metric,
            machine=timed_with(),
            teacher_score=self._teacher_score,
            max_drop=self._max_drop,
            target_speedup=self._target,
            points=marked,
            too_slow=slow,
            chosen=fits[0].candidate.name if fits else "",
            failed={candidate.name: reason for candidate, reason in self._failed.items()},
        )

    def _tell(self, line: str) -> None:
        if self._progress:
            print(line)


_FIELDS = ("depth", "heads", "ffn", "int8")


def _work(candidate: Candidate) -> tuple[float, bool]:
    """Orders candidates by their multiplications, INT8 before float32."""
    return candidate.work, not candidate.int8


def _on_frontier(point: SearchPoint, points: Sequence[SearchPoint]) -> bool:
    def better(other: SearchPoint) -> bool:
        as_good = other.score >= point.score and other.speedup.median >= point.speedup.median
        return as_good and (other.score, other.speedup.median) != (point.score, point.speedup.median)

    return not any(better(other) for other in points)


def _what_cannot_be_met(report: SearchReport) -> str:
    if not report.points and report.failed:
        name, reason = next(iter(report.failed.items()))
        return f"none of the {len(report.failed)} students that were tried could be trained; {name}: {reason}"
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
