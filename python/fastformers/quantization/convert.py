# SPDX-License-Identifier: MIT
"""Converts planned layers one by one: observe, choose, round, swap, forget.

Memory stays near that of the float model: each float weight is let go as soon as its layer is swapped, samples of
the inputs are kept within a share of the model's size, and Hessians (compensated rounding) for a few layers at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fastformers.config import Int8Config
from fastformers.modules import PackedLinear
from fastformers.quantization.calibration import LayerObservation, observe
from fastformers.quantization.equalization import equalization_factors
from fastformers.quantization.inputs import Examples
from fastformers.quantization.plan import LayerPlan
from fastformers.quantization.progress import ProgressCallback
from fastformers.quantization.report import LayerReport
from fastformers.quantization.rounding import quantize_weight
from fastformers.quantization.sensitivity import sqnr_db
from fastformers.quantization.swap import Swap
from fastformers.quantization.timing import LayerTiming, TimingCache, row_buckets

__all__ = ["Converter", "model_bytes"]

#: Share of the model's bytes that samples of layer inputs, and that Hessians, may take.
_SAMPLES_SHARE = 0.04
_HESSIANS_SHARE = 0.06
_SAMPLE_ROWS = (32, 512)


class Converter:
    """Converts the layers of one model.

    Args:
        model: the model, on the CPU, in evaluation mode.
        config: what is wanted.
        examples: what to observe; None converts without calibration.
        swap: makes the changes, so that they can be undone.
        progress: told of every layer.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Int8Config,
        examples: Examples | None,
        swap: Swap,
        progress: ProgressCallback,
    ) -> None:
        self.timings = TimingCache(config.threads)
        self._model = model
        self._config = config
        self._examples = examples
        self._swap = swap
        self._progress = progress
        self._bytes = model_bytes(model)

    def run(self, plans: list[LayerPlan]) -> dict[str, LayerReport]:
        """Converts the layers whose plan gives no reason against it; returns a report per layer name."""
        reports: dict[str, LayerReport] = {}
        for group in self._groups(plans):
            observations = self._observe(group)
            factors = self._factors(group, observations)
            for plan in group:
                observation = observations.pop(plan.name, None)
                reports[plan.name] = self._convert(plan, observation, factors.pop(plan.name, None))
                self._progress("converting layers", len(reports), len(plans))
        return reports

    def _groups(self, plans: list[LayerPlan]) -> Iterator[list[LayerPlan]]:
        """All layers at once, or with Hessians as many as fit (at least one)."""
        if self._config.rounding == "nearest":
            yield plans
            return
        budget = self._bytes * _HESSIANS_SHARE
        group: list[LayerPlan] = []
        taken = 0
        for plan in plans:
            needed = 4 * plan.shape[1] ** 2
            if group and taken + needed > budget:
                yield group
                group, taken = [], 0
            group.append(plan)
            taken += needed
        if group:
            yield group

    def _observe(self, group: list[LayerPlan]) -> dict[str, LayerObservation]:
        if self._examples is None:
            return {}
        depth = sum(plan.shape[1] for plan in group)
        least, most = _SAMPLE_ROWS
        return observe(
            self._model,
            {plan.name: plan.linear for plan in group if plan.linear is not None},
            [batch.inputs for batch in self._examples.batches],
            want_hessian=self._config.rounding == "compensated",
            max_sample_rows=min(most, max(least, int(self._bytes * _SAMPLES_SHARE) // (4 * depth))),
            progress=self._progress,
        )

    def _factors(self, group: list[LayerPlan], observations: dict[str, LayerObservation]) -> dict[str, Tensor]:
        """Equalisation factors by layer name; siblings that read the same input (query, key, value) share theirs."""
        if not self._config.equalize:
            return {}
        factors: dict[str, Tensor] = {}
        for siblings in _siblings(group, observations):
            weights = [plan.linear.weight.detach() for plan in siblings if plan.linear is not None]
            peaks = torch.stack([weight.abs().amax(dim=0) for weight in weights])
            shared = equalization_factors(observations[siblings[0].name].input_absmax, peaks)
            factors.update({plan.name: shared for plan in siblings})
        return factors

    def _convert(
        self, plan: LayerPlan, observation: LayerObservation | None, factors: Tensor | None
    ) -> LayerReport:
        if self._examples is not None and (observation is None or not observation.row_counts):
            return _stays_float(plan, "not reached by the calibration examples")
        timings = self._time(plan, [] if observation is None else observation.row_counts)
        slowest = min((timing.speedup for timing in timings), default=None)
        if slowest is not None and slowest < self._config.min_speedup:
            reason = f"INT8 is {slowest:.2f}x as fast here, below {self._config.min_speedup:g}x"
            return _stays_float(plan, reason, timings)
        packed, sqnr = self._pack(plan, observation, factors)
        activation = plan.activation
        self._swap.replace_layer(plan, packed)
        why = "swapped without timing" if slowest is None else f"INT8 is {slowest:.2f}x as fast here"
        columns, depth = plan.shape
        return LayerReport(
            plan.name,
            plan.shape,
            "int8",
            why,
            packed.isa,
            activation,
            timings,
            sqnr,
            4 * columns * depth,
            packed.packed.numel(),
        )

    def _time(self, plan: LayerPlan, row_counts: list[int]) -> tuple[LayerTiming, ...]:
        if not self._config.never_slower or plan.linear is None:
            return ()
        per_tensor = self._config.activation == "per_tensor"
        return tuple(
            self.timings.time_layer(plan.linear, plan.activation, rows, per_tensor) for rows in row_buckets(row_counts)
        )

    def _pack(
        self, plan: LayerPlan, observation: LayerObservation | None, factors: Tensor | None
    ) -> tuple[PackedLinear, float | None]:
        assert plan.linear is not None
        weight, bias = plan.linear.weight.detach(), plan.linear.bias
        hessian = None if observation is None else observation.hessian
        rounded, scale = quantize_weight(weight, factors, self._config.rounding, hessian)
        packed = PackedLinear.from_quantized(
            rounded,
            scale,
            bias,
            factors=factors,
            activation=plan.activation,
            per_tensor=self._config.activation == "per_tensor",
        )
        return packed, None if observation is None else sqnr_db(weight, bias, packed, observation.sample_inputs)


def model_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and buffers, each counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _siblings(group: list[LayerPlan], observations: dict[str, LayerObservation]) -> Iterator[list[LayerPlan]]:
    """Layers of one parent that saw exactly the same input, together."""
    found: list[list[LayerPlan]] = []
    for plan in group:
        observation = observations.get(plan.name)
        if observation is None or not observation.row_counts:
            continue
        for siblings in found:
            first = siblings[0]
            if first.sites[0].parent is plan.sites[0].parent and torch.equal(
                observations[first.name].input_absmax, observation.input_absmax
            ):
                siblings.append(plan)
                break
        else:
            found.append([plan])
    yield from found


def _stays_float(plan: LayerPlan, reason: str, timings: tuple[LayerTiming, ...] = ()) -> LayerReport:
    columns, depth = plan.shape
    return LayerReport(plan.name, plan.shape, "float", reason, timings=timings, float_bytes=4 * columns * depth)
