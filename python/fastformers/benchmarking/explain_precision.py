# SPDX-License-Identifier: MIT
"""Says which linear layers of a transformers model ``compile`` would make INT8, and why the others stay float32.

Nothing is quantized: the decisions are those that quantization takes before it touches a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from fastformers.benchmarking.explain_work import Precision
from fastformers.config import Int8Config
from fastformers.modules.own_heads import without_own_head
from fastformers.quantization.plan import LayerPlan, plan_layers
from fastformers.rewriting.checks import attribute
from fastformers.rewriting.families import family_of
from fastformers.rewriting.family import Family

__all__ = ["Coverage", "coverage_of", "planned_precisions"]

_HEAD = "head: Int8Config(include_head=True) quantizes it"


@dataclass(frozen=True)
class Coverage:
    """What ``quantize_`` would do to a model, known without doing it.

    Attributes:
        linear_layers: how many the model has.
        int8_layers: how many of them may become INT8.
        weight_share: share of these in the weights of all linear layers.
    """

    linear_layers: int
    int8_layers: int
    weight_share: float


def planned_precisions(
    model: nn.Module, tensors: Mapping[str, Any], int8: Int8Config
) -> dict[str, Precision]:
    """Decides the precision of every linear layer of a model's plan.

    Args:
        model: of a family that can be compiled.
        tensors: of its translation, by the names of :mod:`fastformers.encoder_plan`.
        int8: how layers are to be quantized.

    Returns:
        Name of the layer in the plan (``layers.0.qkv``) -> precision.
    """
    model = without_own_head(model)  # such a head is none of the plan's linears
    plans = {site.name: plan for plan in plan_layers(model, int8) for site in plan.sites}
    sources = dict(_sources(model))
    names = [name.removesuffix(".weight") for name, array in tensors.items() if _is_matrix(name, array)]
    return {name: _precision(tensors[f"{name}.weight"], sources.get(name, ()), plans) for name in names}


def coverage_of(model: nn.Module, int8: Int8Config) -> Coverage:
    """Counts what ``quantize_`` would take of any torch model.

    Raises:
        UnsupportedModelError: it has no linear layer.
    """
    plans = plan_layers(model, int8)
    weights = [plan.shape[0] * plan.shape[1] for plan in plans]
    taken = [plan.reason is None or plan.packed for plan in plans]
    quantized = sum(weight for weight, is_taken in zip(weights, taken, strict=True) if is_taken)
    return Coverage(len(plans), sum(taken), quantized / max(1, sum(weights)))


def _is_matrix(name: str, array: Any) -> bool:
    return name.endswith(".weight") and array.ndim == 2


def _precision(weight: Any, sources: tuple[str, ...], plans: Mapping[str, LayerPlan]) -> Precision:
    if weight.dtype == "int8":
        return Precision(True, "already INT8 in the model")
    if not sources:
        return Precision(False, _HEAD)
    found = [plans[name] for name in sources]
    if any(plan.packed for plan in plans.values()):
        return Precision(False, "float32 in the model, which is quantized already")
    reasons = {plan.reason for plan in found if plan.reason is not None}
    if reasons:
        return Precision(False, "; ".join(sorted(reasons)))
    return Precision(True, "in the encoder, not excluded")


def _sources(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names in the plan of the encoder's own linears -> names in the model."""
    family = family_of(model)
    assert family is not None  # it was translated
    prefix = (
        "" if isinstance(attribute(model, family.names.layers), nn.ModuleList) else f"{family.names.base}."
    )
    if family.names.embeddings.projection is not None:
        yield "embeddings.projection", (prefix + family.names.embeddings.projection,)
    for number in range(len(attribute(model, prefix + family.names.layers))):
        place = f"{prefix}{family.names.layers}.{number}."
        for name, paths in _block(family).items():
            yield f"layers.{number}.{name}", tuple(place + path for path in paths)


def _block(family: Family) -> dict[str, tuple[str, ...]]:
    block = family.names.block
    return {"qkv": block.qkv, "output": (block.output,), "up": (block.up,), "down": (block.down,)}
