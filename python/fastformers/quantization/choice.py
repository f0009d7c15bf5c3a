# SPDX-License-Identifier: MIT
"""Which layers are worth swapping on this machine: those the examples reach, and whose INT8 version is faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from fastformers.config import Int8Config
from fastformers.quantization.inputs import input_of_call
from fastformers.quantization.memory import return_freed_pages
from fastformers.quantization.plan import LayerPlan
from fastformers.quantization.progress import ProgressCallback
from fastformers.quantization.timing import LayerTiming, TimingCache, row_buckets

__all__ = ["Choice", "choose_layers", "counted_rows"]


@dataclass(frozen=True)
class Choice:
    """What was decided for a layer.

    Attributes:
        swap: whether it becomes INT8.
        reason: why, or why not.
        timings: what was measured.
    """

    swap: bool
    reason: str
    timings: tuple[LayerTiming, ...] = ()


@contextmanager
def counted_rows(plans: list[LayerPlan]) -> Iterator[dict[str, list[int]]]:
    """Yields a dict that gets the row count M of every call of the layers inside the block, by layer name."""
    counts: dict[str, list[int]] = {}

    def counter(name: str) -> Any:
        def count(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            x = input_of_call(arguments, options)
            counts.setdefault(name, []).append(x.numel() // max(1, x.shape[-1]))

        return count

    hooks = [
        plan.linear.register_forward_pre_hook(counter(plan.name), with_kwargs=True)
        for plan in plans
        if plan.linear is not None
    ]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def choose_layers(
    plans: list[LayerPlan],
    row_counts: dict[str, list[int]] | None,
    config: Int8Config,
    cache: TimingCache,
    told: ProgressCallback,
) -> dict[str, Choice]:
    """Decides for each layer, measuring where its shape is not known yet.

    Args:
        plans: layers that may be swapped.
        row_counts: row counts seen, by layer name; None when nothing was run.
        config: the threshold.
        cache: gives the times.
        told: told of every layer.
    """
    choices: dict[str, Choice] = {}
    for plan in plans:
        seen = [] if row_counts is None else row_counts.get(plan.name, [])
        if row_counts is not None and not seen:
            choices[plan.name] = Choice(False, "not reached by the calibration examples")
        elif not config.never_slower:
            choices[plan.name] = Choice(True, "swapped without timing")
        else:
            choices[plan.name] = _by_time(plan, seen, config, cache)
        return_freed_pages()
        told("timing layers", len(choices), len(plans))
    return choices


def _by_time(plan: LayerPlan, seen: list[int], config: Int8Config, cache: TimingCache) -> Choice:
    assert plan.linear is not None
    per_tensor = config.activation == "per_tensor"
    timings = tuple(
        cache.time_layer(plan.linear, plan.activation, rows, per_tensor) for rows in row_buckets(seen)
    )
    slowest = min(timing.speedup for timing in timings)
    measured = f"INT8 is {slowest:.2f}x as fast here"
    if slowest < config.min_speedup:
        return Choice(False, f"{measured}, below {config.min_speedup:g}x", timings)
    return Choice(True, measured, timings)
