# SPDX-License-Identifier: MIT
"""Decides, before anything is touched, which linears of a model may become INT8 and which stay float, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from fastformers.config import Int8Config
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.kernels import Activation
from fastformers.modules import PackedLinear
from fastformers.modules.added_calls import added_call
from fastformers.quantization.families import activation_of, fusable_activation, is_head, reads_weight_of

__all__ = ["LayerPlan", "Site", "encoder_prefix", "plan_layers"]

#: Below this many weights a layer's INT8 version saves neither time nor memory worth having.
LEAST_WEIGHTS = 1024


@dataclass(frozen=True)
class Site:
    """A place in a model: an attribute of a module, which may be registered under several names."""

    parent: nn.Module
    attribute: str
    name: str


@dataclass
class LayerPlan:
    """One linear of the model and what is to become of it.

    Attributes:
        name: its (first) name in the model.
        shape: (N, K).
        sites: every place that holds it.
        linear: the float layer; None once it has been replaced.
        reason: why it stays as it is, or None when it may be swapped.
        packed: it is a :class:`PackedLinear` already.
        activation: what is fused into it.
        activation_site: where that activation is; it becomes ``nn.Identity``.
    """

    name: str
    shape: tuple[int, int]
    sites: tuple[Site, ...]
    linear: nn.Linear | None
    reason: str | None = None
    packed: bool = False
    activation: Activation | None = None
    activation_site: Site | None = None


def plan_layers(model: nn.Module, config: Int8Config) -> list[LayerPlan]:
    """Lists the linears of a model in the order of their names' registration.

    Args:
        model: any torch model.
        config: what to exclude.

    Returns:
        One plan per distinct linear layer, float or packed.

    Raises:
        ConfigError: an entry of ``exclude`` matches no module; the message names close matches.
        UnsupportedModelError: the model is itself a linear, or holds none.
    """
    if isinstance(model, nn.Linear | PackedLinear):
        raise UnsupportedModelError(
            "the model is itself one linear layer, which cannot be replaced in place: use PackedLinear.from_linear"
        )
    sites = _sites_of_linears(model)
    if not sites:
        raise UnsupportedModelError(
            f"{type(model).__name__} holds no nn.Linear: there is nothing to quantize"
        )
    excluded = _excluded_modules(model, config.exclude)
    shared = _shared_weights(model)
    prefix = encoder_prefix(model)
    return [_plan_layer(module, found, excluded, shared, prefix, config) for module, found in sites]


def encoder_prefix(model: nn.Module) -> str | None:
    """Name of the encoder inside a transformers model with a head; None for a bare encoder or any other model."""
    prefix = getattr(model, "base_model_prefix", None)
    if not isinstance(prefix, str) or not prefix:
        return None
    encoder = getattr(model, prefix, None)
    # Wrappers pass attributes of the model inside on, and its modules have longer names in them.
    return next((name for name, module in model.named_modules() if name and module is encoder), None)


def _sites_of_linears(model: nn.Module) -> list[tuple[nn.Linear | PackedLinear, tuple[Site, ...]]]:
    found: dict[int, tuple[nn.Linear | PackedLinear, list[Site]]] = {}
    for parent_name, parent in model.named_modules():
        for attribute, child in parent._modules.items():  # named_children() hides repetitions
            if isinstance(child, nn.Linear | PackedLinear):
                name = f"{parent_name}.{attribute}".removeprefix(".")
                found.setdefault(id(child), (child, []))[1].append(Site(parent, attribute, name))
    return [(child, tuple(sites)) for child, sites in found.values()]


def _excluded_modules(model: nn.Module, patterns: Iterable[str]) -> frozenset[int]:
    """Modules by id, with all inside them: one that is used in several places has a name in each."""
    named = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    excluded: set[int] = set()
    for pattern in patterns:
        matched = [name for name in named if name == pattern or fnmatchcase(name, pattern)]
        if not matched:
            close = get_close_matches(pattern, named, n=3, cutoff=0.5)
            hint = f"close matches: {', '.join(close)}" if close else "print(model) lists the names"
            raise ConfigError(f"exclude holds {pattern!r}, which matches no module of the model; {hint}")
        excluded.update(id(inner) for name in matched for inner in named[name].modules())
    return frozenset(excluded)


def _shared_weights(model: nn.Module) -> frozenset[int]:
    """Addresses of parameters that more than one module holds (tied embeddings and the like)."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None and parameter.numel() and parameter.device.type == "cpu":
                address = parameter.data_ptr()
                owners[address] = owners.get(address, 0) + 1
    return frozenset(address for address, count in owners.items() if count > 1)


def _plan_layer(
    module: nn.Linear | PackedLinear,
    sites: tuple[Site, ...],
    excluded: frozenset[int],
    shared: frozenset[int],
    prefix: str | None,
    config: Int8Config,
) -> LayerPlan:
    plan = LayerPlan(sites[0].name, (module.out_features, module.in_features), sites, None)
    if isinstance(module, PackedLinear):
        plan.packed, plan.reason = True, "already INT8"
        plan.activation = module.activation
        return plan
    plan.linear = module
    plan.reason = _reason_to_stay(module, sites, excluded, shared, prefix, config)
    if plan.reason is None and len(sites) == 1:
        _plan_fusion(plan)
    return plan


def _reason_to_stay(
    linear: nn.Linear,
    sites: tuple[Site, ...],
    excluded: frozenset[int],
    shared: frozenset[int],
    prefix: str | None,
    config: Int8Config,
) -> str | None:
    if id(linear) in excluded:
        return "excluded"
    for site in sites:
        if reads_weight_of(site.parent, site.attribute):
            return f"its weight is read directly by {type(site.parent).__name__}"
        if not config.include_head and is_head(site.name, prefix):
            return "head (include_head=True quantizes it)"
    if type(linear) is not nn.Linear:
        return f"{type(linear).__name__} is not a plain nn.Linear"
    if linear.weight.device.type == "cpu" and linear.weight.data_ptr() in shared:
        return "its weight is shared with another module"
    added = added_call(linear)
    if added is not None:
        return f"it has {added}, which a swap would lose"
    if linear.weight.numel() < LEAST_WEIGHTS:
        return f"too small ({linear.weight.numel()} weights)"
    return None


def _plan_fusion(plan: LayerPlan) -> None:
    site = plan.sites[0]
    attribute = fusable_activation(site.parent, site.attribute)
    if attribute is None:
        return
    activation = activation_of(getattr(site.parent, attribute, None))
    if activation is not None:
        plan.activation = activation
        plan.activation_site = Site(
            site.parent, attribute, f"{site.name.rpartition('.')[0]}.{attribute}".strip(".")
        )
