# SPDX-License-Identifier: MIT
"""Which heads and neurons stay: the best of each layer, or the best of all layers within a budget.

Units compete in groups: the heads of a layer, the neurons of a layer. Where all layers share their heads (MPNet's
relative positions), the heads of all layers are one group, and their scores are added.

Where groups compete, the squares of scores do. Squares of gradients estimate what a set of units is worth together (the
Fisher information; Molchanov et al. 2019). Absolute values add up to too much for many small units: heads would go
before the many neurons that cost as much, and MiniLM fell from 72 to 16 points where it now keeps 69.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from fastformers.config import PruneConfig
from fastformers.errors import ConfigError
from fastformers.modules.layer_shapes import LayerShape
from fastformers.pruning.scores import UnitScores

__all__ = ["KeptUnits", "select_units"]


@dataclass(frozen=True)
class KeptUnits:
    """What stays of one layer, as places in ascending order.

    Attributes:
        heads: heads.
        ffn: neurons.
    """

    heads: tuple[int, ...]
    ffn: tuple[int, ...]


@dataclass(frozen=True)
class _Group:
    """Units that are ranked together in every case.

    Attributes:
        kind: ``"heads"`` or ``"ffn"``.
        layers: whose they are.
        scores: shape [units].
        worth: what sets of units are worth is the sum of this, shape [units].
        macs: multiplications for one token that go with a unit, in all those layers.
        least: how many stay at least.
        multiple: how many stay is a multiple of this, unless all do.
    """

    kind: str
    layers: tuple[int, ...]
    scores: Tensor
    worth: Tensor
    macs: int
    least: int
    multiple: int

    @property
    def units(self) -> int:
        return len(self.scores)

    @property
    def floor(self) -> int:
        """The fewest that may stay."""
        return min(_up(self.least, self.multiple), self.units)

    def best(self, count: int) -> tuple[int, ...]:
        """The best units in ascending order; of equal ones the first."""
        order = torch.argsort(self.scores, descending=True, stable=True)
        return tuple(sorted(order[:count].tolist()))

    def steps(self) -> list[tuple[float, int]]:
        """What may be kept beyond the floor, best first: (worth, units) of each step."""
        ordered = self.worth[torch.argsort(self.scores, descending=True, stable=True)].tolist()
        return [
            (sum(ordered[start : start + self.multiple]), len(ordered[start : start + self.multiple]))
            for start in range(self.floor, self.units, self.multiple)
        ]

    @property
    def where(self) -> str:
        return f"layer {self.layers[0]}" if len(self.layers) == 1 else "every layer"


def select_units(
    scores: UnitScores,
    shapes: Sequence[LayerShape],
    config: PruneConfig,
    *,
    hidden: int,
    gated: bool,
    shared_heads: bool,
) -> tuple[KeptUnits, ...]:
    """Chooses what stays.

    Args:
        scores: of all units.
        shapes: of the layers as they are.
        config: how many.
        hidden: width of the residual stream.
        gated: the FFN has gates.
        shared_heads: the same heads must stay in every layer.

    Returns:
        One entry for each layer.

    Raises:
        ConfigError: more is asked than there is, or less than the least that every layer keeps.
    """
    groups = _groups(scores, shapes, config, hidden, gated, shared_heads)
    counts = _RANKINGS[config.ranking](groups, config)
    kept: list[dict[str, tuple[int, ...]]] = [{} for _ in shapes]
    for group, count in zip(groups, counts, strict=True):
        for layer in group.layers:
            kept[layer][group.kind] = group.best(count)
    return tuple(KeptUnits(**each) for each in kept)


def _groups(
    scores: UnitScores,
    shapes: Sequence[LayerShape],
    config: PruneConfig,
    hidden: int,
    gated: bool,
    shared_heads: bool,
) -> list[_Group]:
    head_macs = [4 * hidden * shape.head_size for shape in shapes]
    neuron_macs = hidden * (3 if gated else 2)
    of_heads = [layer.heads for layer in scores.layers]
    layers = range(len(shapes))
    if shared_heads:
        every = tuple(layers)
        heads = [_group("heads", every, of_heads, sum(head_macs), config)]
    else:
        heads = [_group("heads", (layer,), [of_heads[layer]], head_macs[layer], config) for layer in layers]
    ffn = [_group("ffn", (layer,), [scores.layers[layer].ffn], neuron_macs, config) for layer in layers]
    return heads + ffn


def _group(
    kind: str, layers: tuple[int, ...], scores: list[Tensor], macs: int, config: PruneConfig
) -> _Group:
    """Units of one layer, or the same units of several.

    First-order scores are changes of one loss; others are divided by their length, so that layers can compete.
    """
    least, multiple = {"heads": (config.min_heads, 1), "ffn": (config.min_ffn, config.ffn_multiple)}[kind]
    stacked = torch.stack(scores)
    length = 1.0 if config.scores == "first_order" else float(stacked.norm()) or 1.0
    worth = (stacked / length).square().sum(0)
    return _Group(kind, layers, stacked.sum(0), worth, macs, least, multiple)


def _per_layer(groups: Sequence[_Group], config: PruneConfig) -> list[int]:
    return [_asked(group, getattr(config, group.kind)) for group in groups]


def _asked(group: _Group, wanted: int | float | None) -> int:
    """How many of a group's units the config keeps."""
    if wanted is None:
        return group.units
    if isinstance(wanted, float):
        nearest = round(wanted * group.units / group.multiple) * group.multiple
        return min(max(nearest, group.floor), group.units)
    if wanted > group.units:
        raise ConfigError(
            f"{group.where} has {group.units} {_NAMES[group.kind]}; {group.kind}={wanted} asks to keep more"
        )
    return wanted


def _globally(groups: Sequence[_Group], config: PruneConfig) -> list[int]:
    if config.macs is not None:
        total = sum(group.macs * group.units for group in groups)
        return _greedy(groups, config.macs * total, lambda group: group.macs)
    counts = [group.units for group in groups]
    for kind in ("heads", "ffn"):
        wanted = getattr(config, kind)
        places = [place for place, group in enumerate(groups) if group.kind == kind]
        if wanted is None:
            continue
        there = sum(groups[place].units for place in places)
        budget = round(wanted * there) if isinstance(wanted, float) else wanted * len(places)
        if budget > there:
            raise ConfigError(
                f"the layers have {there} {_NAMES[kind]} together; {kind}={wanted} for each of {len(places)} asks to "
                "keep more"
            )
        for place, count in zip(
            places, _greedy([groups[place] for place in places], budget, lambda _: 1), strict=True
        ):
            counts[place] = count
    return counts


def _greedy(groups: Sequence[_Group], budget: float, cost_of: Callable[[_Group], int]) -> list[int]:
    """Counts of each group: the floors, then the steps of most worth for their cost that still fit."""
    counts = [group.floor for group in groups]
    spent = sum(group.floor * cost_of(group) for group in groups)
    if spent > budget:
        least = spent / sum(group.units * cost_of(group) for group in groups)
        raise ConfigError(
            f"what every layer keeps at least (min_heads, min_ffn) is {least:.1%} of what there is, more than asked"
        )
    steps = [
        (-worth / (units * cost_of(group)), place, number, units)
        for place, group in enumerate(groups)
        for number, (worth, units) in enumerate(group.steps())
    ]
    full: set[int] = set()
    for _, place, _, units in sorted(steps):
        cost = units * cost_of(groups[place])
        if place in full or spent + cost > budget:
            full.add(place)
            continue
        counts[place] += units
        spent += cost
    return counts


def _up(count: int, multiple: int) -> int:
    return ceil(count / multiple) * multiple


_NAMES = {"heads": "heads", "ffn": "neurons"}
_RANKINGS: dict[str, Callable[[Sequence[_Group], PruneConfig], list[int]]] = {
    "layer": _per_layer,
    "global": _globally,
}
