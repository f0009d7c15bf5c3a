# SPDX-License-Identifier: MIT
"""What a recipe or a search would do, and about how long it would take here; nothing is run or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastformers.recipes.estimate import CONVERTING_SECONDS, Estimate, estimate_plan
from fastformers.recipes.recipe_plan import Plan, plan_recipe
from fastformers.recipes.search_checks import check_search
from fastformers.recipes.search_space import SECONDS_TO_TIME, SearchSpace, most_timed

__all__ = ["PlanReport", "PlannedRow", "SearchPlanReport", "describe_plan", "describe_search"]

_PLAN_SCHEMA, _SEARCH_SCHEMA = "fastformers-recipe-plan/1", "fastformers-search-plan/1"
#: Unit, its seconds, and the time from which the next one is used.
_UNITS = (("s", 1.0, 90.0), ("min", 60.0, 7200.0), ("h", 3600.0, float("inf")))


@dataclass(frozen=True)
class PlannedRow:
    """A stage to come.

    Attributes:
        name: of the stage.
        kind: of the stage.
        inputs: role to the name of a stage or a model.
        cached: its result is there.
        seconds: it will take, about; 0 where it is cached.
    """

    name: str
    kind: str
    inputs: dict[str, str]
    cached: bool
    seconds: float


@dataclass(frozen=True)
class PlanReport:
    """What a recipe would do.

    Attributes:
        task: name.
        examples: in the training and in the validation set.
        stages: in order.
        seconds: all stages will take, about.
    """

    task: str
    examples: tuple[int, int]
    stages: tuple[PlannedRow, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {"schema": _PLAN_SCHEMA, **asdict(self)}

    def __str__(self) -> str:
        """Returns one line a stage: what it reads, and about how long it takes."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [f"{self.task}: {self.examples[0]} training and {self.examples[1]} validation examples"]
        for stage in self.stages:
            reads = ", ".join(f"{role} {source}" for role, source in stage.inputs.items())
            took = "cached" if stage.cached else f"about {_duration(stage.seconds)}"
            lines.append(f"  {stage.name.ljust(width)}  {stage.kind:<8}  {took:<16}  {reads}")
        lines.append(
            f"about {_duration(self.seconds)} in all, by a measured matmul rate and the multiplications to do"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class SearchPlanReport:
    """What a search would do.

    Attributes:
        longest: the recipe of the student that takes longest.
        students: in the space.
        timed: of them, at most.
        trained: of them, at most.
        seconds_to_time: one of them, about.
        seconds_to_train: one of them, about and at most, when the stages that all share are there.
        seconds: of all, about and at most.
    """

    longest: PlanReport
    students: int
    timed: int
    trained: int
    seconds_to_time: float
    seconds_to_train: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {"schema": _SEARCH_SCHEMA, **asdict(self)}

    def __str__(self) -> str:
        """Returns the longest student's stages, and what the search does with the others."""
        return "\n".join(
            (
                str(self.longest),
                f"that is the longest of {self.students} students; at most {self.timed} are timed, each in about "
                f"{_duration(self.seconds_to_time)}",
                f"at most {self.trained} are trained, each in about {_duration(self.seconds_to_train)} or less once "
                "the stages that they share are there",
                f"about {_duration(self.seconds)} in all at most",
            )
        )


def describe_plan(plan: Plan) -> PlanReport:
    """Returns what a plan's stages read, and about how long they will take here."""
    return _described(plan, estimate_plan(plan))


def describe_search(plan: Plan, target_speedup: float | None = None) -> SearchPlanReport:
    """Returns what a search would do.

    Args:
        plan: of the recipe.
        target_speedup: as for :func:`fastformers.search`: without it every student that is timed is trained.

    Raises:
        ConfigError: the search would be refused.
    """
    space = SearchSpace.of(plan.recipe)
    layers = check_search(plan.recipe, space, plan.task)
    candidates = list(space.candidates())
    # A deeper student takes longer than a shallower one, and one that is pruned is trained a second time.
    longest = max(candidates, key=lambda each: (each.depth, each.is_pruned, each.work))
    whole = plan_recipe(space.recipe_for(plan.recipe, longest, layers), plan.stages[0].folder.parent)
    estimates = estimate_plan(whole)
    own = {*longest.stage_names}
    shared = replace(whole, stages=tuple(each for each in whole.stages if each.stage.name not in own))
    training = sum(estimates[name].seconds for name in own)
    trained = min(space.trials, len(candidates))
    timed = trained if target_speedup is None else min(len(candidates), most_timed(space.trials))
    timing = SECONDS_TO_TIME + CONVERTING_SECONDS
    return SearchPlanReport(
        longest=_described(whole, estimates),
        students=len(candidates),
        timed=timed,
        trained=trained,
        seconds_to_time=timing,
        seconds_to_train=training,
        seconds=_described(shared, estimates).seconds + timed * timing + trained * training,
    )


def _described(plan: Plan, estimates: Mapping[str, Estimate]) -> PlanReport:
    rows = tuple(
        PlannedRow(
            name=planned.stage.name,
            kind=planned.stage.kind,
            inputs=dict(planned.stage.inputs),
            cached=planned.cached,
            seconds=0.0 if planned.cached else estimates[planned.stage.name].seconds,
        )
        for planned in plan.stages
    )
    return PlanReport(
        plan.task.name, (len(plan.train), len(plan.val)), rows, sum(row.seconds for row in rows)
    )


def _duration(seconds: float) -> str:
    unit, length = next((u, n) for u, n, most in _UNITS if seconds < most)
    return f"{seconds / length:.0f} {unit}"
