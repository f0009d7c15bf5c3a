# SPDX-License-Identifier: MIT
"""The students that a search may try, and the stages that make one: the ``[search]`` table of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from fastformers.errors import ConfigError
from fastformers.recipes.recipe_file import Recipe, Stage
from fastformers.recipes.recipe_stages import KINDS

__all__ = [
    "PROPOSALS_PER_TRIAL",
    "SECONDS_TO_TIME",
    "Candidate",
    "SearchSpace",
    "layers_kept",
    "most_timed",
]

#: Proposals in all, per student trained: most proposals of a narrow budget are too slow, and cost seconds.
PROPOSALS_PER_TRIAL = 8
#: What a proposal and its teacher are timed for, beside each other.
SECONDS_TO_TIME = 6.0

_DEFAULTS: Mapping[str, Any] = {"heads": [1.0], "ffn": [1.0], "int8": [True], "trials": 12}
#: What a distillation takes and a search does not: shapes that its timing knows nothing of.
_NOT_SEARCHED = frozenset({"layers", "hidden"})
_SHAPES = ("depth", "heads", "ffn", "int8")
_NAMED = ("teacher", "student")


@dataclass(frozen=True, order=True)
class Candidate:
    """One student.

    Attributes:
        depth: layers.
        heads: share of each layer's heads that stays, above 0 to 1.
        ffn: share of each layer's intermediate neurons that stays.
        int8: linear layers are INT8.
    """

    depth: int
    heads: float
    ffn: float
    int8: bool

    @property
    def name(self) -> str:
        """E.g. ``"3-layers-h75-f50-int8"``; also the name of its last stage."""
        return f"{self.pruned_name}-{'int8' if self.int8 else 'float32'}"

    @property
    def work(self) -> float:
        """Multiplications for a token, in a unit that only orders candidates."""
        return self.depth * (self.heads + 2 * self.ffn)

    def contains(self, other: Candidate) -> bool:
        """Whether it has what another student has, and perhaps more: it is no faster than that one."""
        shares = self.heads >= other.heads and self.ffn >= other.ffn
        return self.int8 == other.int8 and self.depth >= other.depth and shares

    @property
    def is_pruned(self) -> bool:
        """Something is taken out of its layers."""
        return self.heads < 1 or self.ffn < 1

    @property
    def whole_name(self) -> str:
        """Name of the stage that makes it before anything is taken out of its layers."""
        return f"{self.depth}-layers"

    @property
    def pruned_name(self) -> str:
        """Name of the stage that makes it before it is converted."""
        if not self.is_pruned:
            return self.whole_name
        return f"{self.whole_name}-h{round(100 * self.heads)}-f{round(100 * self.ffn)}"

    @property
    def weights_name(self) -> str:
        """Name of the stage that takes heads and neurons out, before it is trained again."""
        return f"{self.pruned_name}-weights"

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages that make it."""
        pruned = (self.weights_name, self.pruned_name) if self.is_pruned else ()
        return (self.whole_name, *pruned, self.name)


def layers_kept(depth: int, of: int) -> list[int]:
    """Layers a student of some depth keeps: spread evenly, the last one among them.

    Raises:
        ConfigError: there are not so many.

    Example:
        >>> layers_kept(3, 6)
        [1, 3, 5]
    """
    if not 1 <= depth <= of:
        raise ConfigError(f"a student of {depth} layers cannot be cut from one of {of}")
    return [(number + 1) * of // depth - 1 for number in range(depth)]


def most_timed(trials: int) -> int:
    """Returns how many students a search of so many trials times at most: the smallest, the largest and proposals."""
    return 2 + PROPOSALS_PER_TRIAL * trials


@dataclass(frozen=True)
class SearchSpace:
    """A recipe's ``[search]`` table, checked.

    Attributes:
        teacher: stage that teaches, and whose score and speed are compared with.
        student: stage or model that students are cut from.
        depth: numbers of layers to try.
        heads: shares of heads to try.
        ffn: shares of intermediate neurons to try.
        int8: whether to try INT8, float32 or both.
        trials: students trained at most.
        training: options of every distillation, as a stage takes them.
    """

    teacher: str
    student: str
    depth: tuple[int, ...]
    heads: tuple[float, ...]
    ffn: tuple[float, ...]
    int8: tuple[bool, ...]
    trials: int
    training: Mapping[str, Any]

    @classmethod
    def of(cls, recipe: Recipe) -> SearchSpace:
        """Reads a recipe's table.

        Raises:
            ConfigError: it is missing, or a field is refused.
        """
        if not recipe.search:
            raise ConfigError(
                "the recipe has no [search] table, which says what students to try: depth, heads, ffn"
            )
        table = {**_DEFAULTS, **recipe.search}
        names = {name: str(table.pop(name, None)) for name in _NAMED}
        stages = [stage.name for stage in recipe.stages]
        known = {"teacher": stages, "student": [*recipe.models, *stages]}
        for name, value in names.items():
            if value not in known[name]:
                raise ConfigError(f"[search] {name} is {value!r}; allowed: {', '.join(known[name])}")
        shapes: dict[str, Any] = {name: _choices(name, table.pop(name, None)) for name in _SHAPES}
        trials = table.pop("trials")
        if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
            raise ConfigError(f"[search] trials is {trials!r}, must be a whole number of 1 or more")
        for name in _NOT_SEARCHED & table.keys():
            raise ConfigError(
                f"[search] has {name}: the students of a search differ in depth, heads, ffn and int8, and are timed as "
                "such before they are trained; give it a checkpoint of that shape instead"
            )
        KINDS["distill"].parse("[search]", table)
        space = cls(names["teacher"], names["student"], **shapes, trials=trials, training=table)
        called = [each.name for each in space.candidates()]
        twice = next((name for name in called if called.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"[search] two students would both be called {twice!r}, and share a folder: shares of heads and of ffn "
                "must differ by a hundredth or more"
            )
        space._check_names(recipe)
        return space

    def _check_names(self, recipe: Recipe) -> None:
        """Refuses a recipe with a stage or a model called as a student's stage would be: both share a folder."""
        taken = {*recipe.models, *(stage.name for stage in recipe.stages)}
        made = (name for candidate in self.candidates() for name in candidate.stage_names)
        clash = next((name for name in made if name in taken), None)
        if clash is not None:
            raise ConfigError(
                f"[search] makes a stage {clash!r} of its own, and the recipe has a stage or a model of that name: "
                "rename the recipe's"
            )

    def candidates(self) -> Iterator[Candidate]:
        """Yields every student of the space."""
        for shape in product(self.depth, self.heads, self.ffn, self.int8):
            yield Candidate(*shape)

    def shared_stages(self, recipe: Recipe) -> int:
        """Returns how many of a recipe's stages every student needs: those up to the teacher, and to the student."""
        needed = (self.teacher, self.student)
        return 1 + max(place for place, stage in enumerate(recipe.stages) if stage.name in needed)

    def recipe_for(self, recipe: Recipe, candidate: Candidate, layers: int) -> Recipe:
        """Returns a recipe whose last stage is the candidate, and whose stages other candidates share where they can.

        Args:
            recipe: whose stages up to the teacher, and to the student, come first.
            candidate: the student.
            layers: of what students are cut from.
        """
        stages = [*recipe.stages[: self.shared_stages(recipe)]]
        kept = {} if candidate.depth == layers else {"layers": layers_kept(candidate.depth, layers)}
        whole = candidate.whole_name
        inputs = {"teacher": self.teacher, "student": self.student}
        stages.append(_stage(whole, "distill", inputs, {**self.training, **kept}))
        last = whole
        if candidate.is_pruned:
            last = candidate.pruned_name
            pruning = {"heads": candidate.heads, "ffn": candidate.ffn}
            shares = {name: share for name, share in pruning.items() if share < 1}
            stages.append(_stage(candidate.weights_name, "prune", {"model": whole}, shares))
            inputs = {"teacher": whole, "student": candidate.weights_name}
            again = {name: value for name, value in self.training.items() if name != "head"}  # it has one
            stages.append(_stage(last, "distill", inputs, again))
        stages.append(_stage(candidate.name, "compile", {"model": last}, {"float32": not candidate.int8}))
        return replace(recipe, stages=tuple(stages))


def _stage(name: str, kind: str, inputs: Mapping[str, str], options: Mapping[str, Any]) -> Stage:
    return Stage(name, kind, inputs, KINDS[kind].parse(f"stage {name!r}", options))


def _choices(name: str, value: Any) -> tuple[Any, ...]:
    """Checks a list of choices."""
    kind, fits, allowed = _RULES[name]
    good = isinstance(value, list) and value and all(type(each) in kind and fits(each) for each in value)
    if not good:
        raise ConfigError(f"[search] {name} is {value!r}, must be a list of {allowed}")
    return tuple(sorted(set(value), reverse=True))


_SHARE = ((float, int), lambda each: 0 < each <= 1, "shares above 0 to 1")
_RULES: Mapping[str, tuple[tuple[type, ...], Any, str]] = {
    "depth": ((int,), lambda each: each >= 1, "numbers of layers"),
    "heads": _SHARE,
    "ffn": _SHARE,
    "int8": ((bool,), lambda each: True, "true and false"),
}
