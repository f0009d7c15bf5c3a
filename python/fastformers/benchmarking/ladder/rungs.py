# SPDX-License-Identifier: MIT
"""The rows of a ladder, and those beside it that compare one choice with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import SystemModel, Systems
from fastformers.counted import counted
from fastformers.errors import ConfigError

__all__ = ["DYNAMIC", "PADDED", "Rung", "add_students", "check_names", "comparisons_of", "rungs_of"]


@dataclass(frozen=True)
class Rung:
    """One row.

    Attributes:
        name: unique; what tables and pictures call it.
        meaning: what it does, in words that need no other reading.
        model: whose answers.
        way: key of :data:`fastformers.benchmarking.ladder.ways.WAYS`.
        against: the row that its step is measured from; empty for the first.
        slow: of the uncompressed model: timed on a sample where one is asked for.
    """

    name: str
    meaning: str
    model: SystemModel
    way: str
    against: str
    slow: bool = False


#: Rows that a ladder has on a GPU, too.
PADDED, DYNAMIC = "PyTorch, padded", "dynamic length"
_ENGINE = "INT8 engine"


def rungs_of(systems: Systems, settings: LadderSettings, max_length: int) -> list[Rung]:
    """Lists the rows of the ladder.

    Args:
        systems: the models.
        settings: threads and instances.
        max_length: tokens that texts are padded to in the first row.

    Raises:
        ConfigError: two models have the same name.
    """
    check_names(systems)
    teacher, threads = systems.teacher, settings.thread_count
    several = counted(settings.instance_count, "instance")
    rungs = [
        Rung(
            PADDED,
            f"{teacher.name} in PyTorch float32, out of the box: every text is filled up to {max_length} tokens",
            teacher,
            "padded",
            "",
            slow=True,
        ),
        Rung(
            DYNAMIC,
            "the same model computes only the tokens that a text has",
            teacher,
            "dynamic",
            PADDED,
            True,
        ),
    ]
    add_students(rungs, systems, "dynamic")
    last = rungs[-1].model
    rungs += [
        Rung(
            _ENGINE,
            f"its whole encoder in one native call with INT8 layers, {counted(threads, 'thread')} "
            "(ff.compile, ff.Engine)",
            last,
            "engine",
            rungs[-1].name,
        ),
        Rung(
            several,
            "the same under load: one thread for each, over one copy of the weights",
            last,
            "instances",
            _ENGINE,
        ),
    ]
    for pruned in systems.pruned:
        meaning = "heads and neurons taken out (ff.prune_); engine and instances as before"
        rungs.append(Rung(pruned.name, meaning, pruned, "instances", several))
    return rungs


def comparisons_of(systems: Systems, settings: LadderSettings, rungs: Sequence[Rung]) -> list[Rung]:
    """Lists the rows beside the ladder: each differs from a row of it by one choice.

    Args:
        systems: the models.
        settings: as for the ladder.
        rungs: the ladder.
    """
    float_row, engine = next((above, below) for above, below in pairwise(rungs) if below.way == "engine")
    instances = next(rung for rung in rungs if rung.way == "instances")
    student = engine.model
    found = [
        Rung(
            "INT8 layers in PyTorch",
            "only the linear layers are INT8, one range for each token (ff.quantize_); the rest is PyTorch",
            student,
            "quantized",
            float_row.name,
        ),
        Rung(
            "INT8 layers, per tensor",
            "the same with one range for all activations of a call, as in the paper",
            student,
            "per_tensor",
            "INT8 layers in PyTorch",
        ),
        Rung(
            "engine, all rows",
            "the INT8 engine computes its last layer for every token, not only for those its head reads",
            student,
            "all_rows",
            engine.name,
        ),
        Rung("engine, 1 thread", "one instance with one thread", student, "one_thread", engine.name),
        Rung(
            f"{settings.instance_count} process{'es'[: 2 * (settings.instance_count != 1)]}",
            "a process with a copy of the model for each instance, as in the paper",
            student,
            "processes",
            instances.name,
        ),
    ]
    if student is not systems.teacher:
        found.append(
            Rung(
                f"{systems.teacher.name}, INT8 engine",
                "the uncompressed model in the INT8 engine: what it gains without distillation",
                systems.teacher,
                "engine",
                DYNAMIC,
                slow=True,
            )
        )
    return found


def add_students(rungs: list[Rung], systems: Systems, way: str) -> None:
    """Appends a row for each student, which answers in the way of the rows above."""
    meaning = "a smaller model, trained to answer as the first does (ff.distill); PyTorch float32"
    for student in systems.students:
        name = "distilled student" if len(systems.students) == 1 else f"distilled: {student.name}"
        rungs.append(Rung(name, meaning, student, way, rungs[-1].name))


def check_names(systems: Systems) -> None:
    """Checks that no two models have the same name.

    Raises:
        ConfigError: two have.
    """
    names = [model.name for model in (systems.teacher, *systems.students, *systems.pruned)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two models are called {twice!r}, after their folders: rename one")
