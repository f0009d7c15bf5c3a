# SPDX-License-Identifier: MIT
"""Converts chosen layers one by one: observe, equalise, round, swap, forget.

Memory stays near that of the float model: each float weight is let go as soon as its layer is swapped, samples of
the inputs are kept within a share of the model's size, and Hessians (compensated rounding) for a few layers at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.config import Int8Config
from fastformers.modules import PackedLinear
from fastformers.modules.model_bytes import model_bytes
from fastformers.quantization.calibration import LayerObservation, observe
from fastformers.quantization.choice import Choice
from fastformers.quantization.equalization import fitted_factors, output_importance
from fastformers.quantization.inputs import Examples
from fastformers.quantization.memory import return_freed_pages
from fastformers.quantization.partial_pass import PartialPass
from fastformers.quantization.plan import LayerPlan
from fastformers.quantization.progress import ProgressCallback
from fastformers.quantization.report import LayerReport
from fastformers.quantization.rounding import quantize_weight
from fastformers.quantization.sensitivity import sqnr_db
from fastformers.quantization.swap import Swap

__all__ = ["Converter", "stays_float"]

#: Share of the model's bytes that samples of layer inputs, and that Hessians, may take.
_SAMPLES_SHARE = 0.02
_HESSIANS_SHARE = 0.06
_SAMPLE_ROWS = (48, 512)


class Converter:
    """Converts the layers of one model.

    Args:
        model: the model, on the CPU, in evaluation mode.
        config: what is wanted.
        examples: what to observe; None converts without calibration.
        row_counts: row counts of every call of the layers on the examples, by name.
        swap: makes the changes, so that they can be undone.
        told: told of every layer.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Int8Config,
        examples: Examples | None,
        row_counts: dict[str, list[int]],
        swap: Swap,
        told: ProgressCallback,
    ) -> None:
        self._model = model
        self._config = config
        self._examples = examples
        self._row_counts = row_counts
        self._swap = swap
        self._told = told
        self._bytes = model_bytes(model)

    def run(self, plans: list[LayerPlan], choices: dict[str, Choice]) -> dict[str, LayerReport]:
        """Converts the layers that were chosen; returns a report for every one, by name."""
        reports = {
            plan.name: stays_float(plan, choices[plan.name].reason, choices[plan.name])
            for plan in plans
            if not choices[plan.name].swap
        }
        chosen = [plan for plan in plans if choices[plan.name].swap]
        groups = list(self._groups(chosen))
        for number, group in enumerate(groups):
            observations = self._observe(group, number, len(groups))
            factors = self._factors(group, observations)
            for plan in group:
                observation = observations.pop(plan.name, None)
                reports[plan.name] = self._convert(
                    plan, choices[plan.name], observation, factors.pop(plan.name, None)
                )
                return_freed_pages()
                self._told("converting layers", sum(each.linear is None for each in chosen), len(chosen))
        return reports

    def _groups(self, plans: list[LayerPlan]) -> Iterator[list[LayerPlan]]:
        """All layers at once, or with Hessians as many as fit (at least one)."""
        if self._config.rounding == "nearest":
            # The smallest first: what they free makes room for the working copies of the largest.
            yield sorted(plans, key=lambda plan: plan.shape[0] * plan.shape[1])
            return
        budget = self._bytes * _HESSIANS_SHARE
        group: list[LayerPlan] = []
        taken = 0
        for siblings in _runs_of_siblings(plans):
            needed = 4 * siblings[0].shape[1] ** 2  # one Hessian: they mostly see one tensor
            if group and taken + needed > budget:
                yield group
                group, taken = [], 0
            group.extend(siblings)
            taken += needed
        if group:
            yield group

    def _observe(self, group: list[LayerPlan], number: int, groups: int) -> dict[str, LayerObservation]:
        if self._examples is None or not group:
            return {}
        depth = sum(plan.shape[1] for plan in group)
        least, most = _SAMPLE_ROWS

        def told(stage: str, done: int, total: int) -> None:
            return_freed_pages()
            self._told(stage, number * total + done, groups * total)

        linears = {plan.name: plan.linear for plan in group if plan.linear is not None}
        return observe(
            self._pass_through(linears, groups),
            linears,
            [batch.inputs for batch in self._examples.batches],
            want_hessian=self._config.rounding == "compensated",
            max_sample_rows=min(most, max(least, int(self._bytes * _SAMPLES_SHARE) // (4 * depth))),
            progress=told,
        )

    def _pass_through(self, linears: dict[str, nn.Linear], groups: int) -> Any:
        """The model, or as much of it as has to run to reach these layers."""
        assert self._examples is not None
        calls = sum(len(self._row_counts[name]) for name in linears)
        passes = len(self._examples.batches)
        if groups == 1 or calls % passes:
            return self._model
        return PartialPass(self._model, linears.values(), calls // passes)

    def _factors(
        self, group: list[LayerPlan], observations: dict[str, LayerObservation]
    ) -> dict[str, Tensor]:
        """Equalisation factors by layer name; siblings that read the same input (query, key, value) share theirs."""
        if not self._config.equalize or not observations:
            return {}
        factors: dict[str, Tensor] = {}
        for siblings in _siblings(group, observations):
            weights = [plan.linear.weight.detach() for plan in siblings if plan.linear is not None]
            seen = observations[siblings[0].name]
            importance = [output_importance(plan.name) for plan in siblings if plan.linear is not None]
            shared = fitted_factors(seen.input_absmax, seen.sample_inputs, weights, importance)
            factors.update({plan.name: shared for plan in siblings})
            return_freed_pages()
        return factors

    def _convert(
        self, plan: LayerPlan, choice: Choice, observation: LayerObservation | None, factors: Tensor | None
    ) -> LayerReport:
        packed, noise = self._pack(plan, observation, factors)
        self._swap.replace_layer(plan, packed)
        return LayerReport(
            plan.name,
            plan.shape,
            "int8",
            choice.reason,
            isa=packed.isa,
            activation=plan.activation,
            timings=choice.timings,
            sqnr_db=noise,
            float_bytes=4 * plan.shape[0] * plan.shape[1],
            packed_bytes=packed.packed.numel(),
        )

    def _pack(
        self, plan: LayerPlan, observation: LayerObservation | None, factors: Tensor | None
    ) -> tuple[PackedLinear, float | None]:
        assert plan.linear is not None
        weight, bias = plan.linear.weight.detach(), plan.linear.bias
        hessian = None if observation is None else observation.hessian
        rounded, scale = quantize_weight(weight, factors, self._config.rounding, hessian)
        per_tensor = self._config.activation == "per_tensor"
        packed = PackedLinear.from_quantized(
            rounded, scale, bias, factors=factors, activation=plan.activation, per_tensor=per_tensor
        )
        return packed, None if observation is None else sqnr_db(
            weight, bias, packed, observation.sample_inputs
        )


def stays_float(plan: LayerPlan, reason: str, choice: Choice | None = None) -> LayerReport:
    """The report of a layer that is left alone."""
    timings = () if choice is None else choice.timings
    columns, depth = plan.shape
    return LayerReport(
        plan.name, plan.shape, "float", reason, timings=timings, float_bytes=4 * columns * depth
    )


def _runs_of_siblings(plans: list[LayerPlan]) -> list[list[LayerPlan]]:
    """Neighbours that may read the same input, in lists that stay together: apart, they could not share factors."""
    runs: list[list[LayerPlan]] = []
    for plan in plans:
        last = runs[-1][-1] if runs else None
        parent = plan.sites[0].parent
        near = last is not None and last.sites[0].parent is parent and last.shape[1] == plan.shape[1]
        if near and not isinstance(parent, nn.Sequential | nn.ModuleList):
            runs[-1].append(plan)
        else:
            runs.append([plan])
    return runs


def _siblings(group: list[LayerPlan], observations: dict[str, LayerObservation]) -> list[list[LayerPlan]]:
    """Layers of one parent that saw exactly the same input, together."""
    found: list[list[LayerPlan]] = []
    for plan in group:
        peaks = observations[plan.name].input_absmax
        for siblings in found:
            first = siblings[0]
            same_parent = first.sites[0].parent is plan.sites[0].parent
            if same_parent and torch.equal(observations[first.name].input_absmax, peaks):
                siblings.append(plan)
                break
        else:
            found.append([plan])
    return found
