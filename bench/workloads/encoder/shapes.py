# SPDX-License-Identifier: MIT
"""Sizes of the five encoders and what their work costs at least: the limit that percentages refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderShape:
    """A BERT encoder.

    Attributes:
        name: how tables call it.
        layers: encoder layers.
        hidden: width of the residual stream.
        heads: attention heads of each layer.
        head_size: channels of a head; heads x head size differs from hidden in a pruned model.
        intermediate: width of the feed-forward network.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    head_size: int
    intermediate: int

    @property
    def weights(self) -> int:
        """Weights of the linear layers of all encoder layers: multiply-accumulates of one token."""
        attention = 4 * self.hidden * self.heads * self.head_size
        return self.layers * (attention + 2 * self.hidden * self.intermediate)

    def linear_operations(self, lengths: Sequence[int]) -> int:
        """Operations (2 per multiply-accumulate) of the linear layers, all rows of all layers."""
        return 2 * self.weights * sum(lengths)

    def attention_operations(self, lengths: Sequence[int]) -> int:
        """Operations of the two products of attention, all rows of all layers."""
        return 4 * self.layers * self.heads * self.head_size * sum(length * length for length in lengths)


SHAPES = (
    EncoderShape("bert-base", 12, 768, 12, 64, 3072),
    EncoderShape("distil", 6, 768, 12, 64, 3072),
    EncoderShape("minilm", 6, 384, 12, 32, 1536),
    EncoderShape("tinybert", 4, 312, 12, 26, 1200),
    EncoderShape("tinybert-pruned", 4, 312, 8, 26, 600),
)


def shape_named(name: str) -> EncoderShape:
    """Returns the shape of that name.

    Raises:
        ValueError: no such shape.
    """
    for shape in SHAPES:
        if shape.name == name:
            return shape
    raise ValueError(f"unknown model {name!r}: choose among {', '.join(shape.name for shape in SHAPES)}")
