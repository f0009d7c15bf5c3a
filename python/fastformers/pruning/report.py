# SPDX-License-Identifier: MIT
"""What pruning did: sizes before and after, layer by layer, how the choice was made, and what else there is to know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastformers.config import PruneConfig
from fastformers.counted import counted

__all__ = ["LayerReport", "PruneReport"]


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    Attributes:
        heads_before: attention heads it had.
        heads: places of those that stayed, among those it had.
        ffn_before: neurons it had.
        ffn: neurons it has.
    """

    heads_before: int
    heads: tuple[int, ...]
    ffn_before: int
    ffn: int


@dataclass(frozen=True)
class PruneReport:
    """Result of :func:`fastformers.prune_`; ``print`` it.

    Attributes:
        family: of the model.
        config: what was asked; ``None`` where no head and no neuron was to go.
        examples: how many the scores were computed from.
        layers: first to last.
        parameters_before: of the whole model.
        parameters: of the whole model now.
        macs_before: multiplications of the encoder's linear layers for one token.
        macs: now.
        notes: what else there is to know.
    """

    family: str
    config: PruneConfig | None
    examples: int
    layers: tuple[LayerReport, ...]
    parameters_before: int
    parameters: int
    macs_before: int
    macs: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON values."""
        return {
            **asdict(self),
            "config": None if self.config is None else self.config.to_dict(),
            "layers": [{**asdict(layer), "heads": list(layer.heads)} for layer in self.layers],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Returns a few lines for people."""
        return "\n".join([*self._heading(), *_layer_lines(self.layers), *self.notes])

    def _heading(self) -> list[str]:
        share = self.macs / self.macs_before if self.macs_before else 1.0
        lines = [
            f"{self.family}, {counted(len(self.layers), 'layer')}: parameters {self.parameters_before:,} -> "
            f"{self.parameters:,}, linear layers {share:.0%} of the work"
        ]
        if self.config is not None:
            source = f" on {counted(self.examples, 'example')}" if self.examples else ""
            lines.append(f"scores {self.config.scores}{source}, ranked {_RANKED[self.config.ranking]}")
        return lines


_RANKED = {"layer": "within each layer", "global": "over all layers"}


def _layer_lines(layers: tuple[LayerReport, ...]) -> list[str]:
    """One line for each layer; one for all of them where they are alike."""
    texts = [
        f"heads {layer.heads_before} -> {len(layer.heads)}, neurons {layer.ffn_before} -> {layer.ffn}"
        for layer in layers
    ]
    if len(set(texts)) == 1:
        return [f"each layer: {texts[0]}"]
    return [f"layer {number}: {text}" for number, text in enumerate(texts)]
