# SPDX-License-Identifier: MIT
"""The rows of a ladder on a GPU: the paper's large batches, from padded float32 to pruned in half (its section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from fastformers.benchmarking.ladder.rungs import DYNAMIC, PADDED, Rung, add_students, check_names
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import Systems

__all__ = ["gpu_comparisons_of", "gpu_rungs_of"]

_BUCKETS, _HALF = "similar lengths together", "half precision"


def gpu_rungs_of(systems: Systems, settings: LadderSettings, max_length: int) -> list[Rung]:
    """Lists the rows of the ladder; arguments and errors as :func:`fastformers.benchmarking.ladder.rungs.rungs_of`."""
    check_names(systems)
    teacher, size = systems.teacher, settings.request_size
    rungs = [
        Rung(
            PADDED,
            f"{teacher.name} in PyTorch float32, batches of {size}: every text is filled up to {max_length} tokens",
            teacher,
            "batches_padded",
            "",
        ),
        Rung(
            DYNAMIC,
            "the same model; a batch is filled up to its longest text",
            teacher,
            "batches_dynamic",
            PADDED,
        ),
        Rung(_BUCKETS, "the same; texts of similar length share a batch", teacher, "batches", DYNAMIC),
    ]
    add_students(rungs, systems, "batches")
    meaning = "weights and products are half, attention is fused (ff.to_fp16)"
    rungs.append(Rung(_HALF, meaning, rungs[-1].model, "half", rungs[-1].name))
    for pruned in systems.pruned:
        meaning = "heads and neurons taken out (ff.prune_); half as before"
        rungs.append(Rung(pruned.name, meaning, pruned, "half", _HALF))
    return rungs


def gpu_comparisons_of(systems: Systems, settings: LadderSettings, rungs: Sequence[Rung]) -> list[Rung]:
    """Lists the rows beside the ladder: each differs from a row of it by one choice.

    Args:
        systems: the models.
        settings: as for the ladder.
        rungs: the ladder.
    """
    half = next(rung for rung in rungs if rung.way == "half")
    found = [
        Rung(
            "half, eager attention",
            "attention step by step, scores written down in half",
            half.model,
            "half_eager",
            _HALF,
        )
    ]
    if half.model is not systems.teacher:
        found.append(
            Rung(
                f"{systems.teacher.name}, half precision",
                "the uncompressed model in half: what it gains without distillation",
                systems.teacher,
                "half",
                _BUCKETS,
            )
        )
    found += [
        Rung(
            f"{pruned.name}, not filled up",
            "heads and neurons as they were left, not filled up with zeros to multiples of 8",
            pruned,
            "half_unfilled",
            pruned.name,
        )
        for pruned in systems.pruned
    ]
    return found
