# SPDX-License-Identifier: MIT
"""Rows of tokens without those of padding: what a graph computes on between its attention blocks.

Linear layers, norms and activations do not ask where a token stands, so a graph need not compute them for padding: rows
are gathered once behind the embeddings' ids, laid out as [batch, length] for attention only, and gathered again behind
it. Standard operators do that. INT8 gains besides: padding no longer widens the one range that ONNX Runtime gives a
tensor. ``bench/onnx/padding`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastformers.export.builder import GraphBuilder

__all__ = ["TokenRows"]


@dataclass
class TokenRows:
    """Packs rows of tokens and lays them out again.

    Attributes:
        graph: where to.
        mask: int64 [batch, length], 1 for a token.
        packs: ``False``: rows keep padding, [batch, length, C] everywhere.
    """

    graph: GraphBuilder
    mask: str
    packs: bool
    _kept: dict[str, str] = field(default_factory=dict)

    def pack(self, x: str, place: str) -> str:
        """[batch, length, ...] -> [tokens, ...], texts one behind the other."""
        if not self.packs:
            return x
        return self.graph.node("GatherND", [x, self._places()], place)

    def lay_out(self, x: str, place: str) -> str:
        """[tokens, ...] -> [batch, length, ...]; a row of padding is that of some token, which nothing may read."""
        if not self.packs:
            return x
        return self.graph.node("Gather", [x, self._numbers()], place, axis=0)

    def lay_out_zeros(self, x: str, place: str) -> str:
        """[tokens, C] -> [batch, length, C] with zeros at padding, as the engine's outputs have them."""
        if not self.packs:
            return x
        return self.graph.node("Mul", [self.lay_out(x, place), self.kept(place)], place)

    def kept(self, place: str) -> str:
        """The mask as factors of rows, float32 [batch, length, 1]."""
        factors = self.graph.node("Cast", [self.mask], place, to=1)  # TensorProto.FLOAT
        return self.graph.node("Unsqueeze", [factors, self.graph.number([-1], np.int64)], place)

    def first(self, x: str) -> str:
        """Takes each text's first token that the mask keeps: [tokens, C], or [batch, length, C], -> [batch, C]."""
        graph = self.graph
        if "first" not in self._kept:
            place = graph.node("ArgMax", [self.mask], "first", axis=1, keepdims=1)
            if self.packs:
                place = graph.node("GatherND", [self._numbers(), place], "first", batch_dims=1)
            self._kept["first"] = place
        if self.packs:
            return graph.node("Gather", [x, self._kept["first"]], "first", axis=0)
        return graph.node("GatherND", [x, self._kept["first"]], "first", batch_dims=1)

    def _places(self) -> str:
        """Text and place of each token, int64 [tokens, 2]."""
        if "places" not in self._kept:
            found = self.graph.node("NonZero", [self.mask], "tokens")
            self._kept["places"] = self.graph.node("Transpose", [found], "tokens", perm=[1, 0])
        return self._kept["places"]

    def _numbers(self) -> str:
        """The row of each place, int64 [batch, length]; padding has that of the token before it."""
        if "numbers" not in self._kept:
            graph, place = self.graph, "tokens"
            flat = graph.node("Reshape", [self.mask, graph.number([-1], np.int64)], place)
            count = graph.node("CumSum", [flat, graph.number(0, np.int64)], place)
            number = graph.node("Sub", [count, graph.number(1, np.int64)], place)
            number = graph.node("Max", [number, graph.number(0, np.int64)], place)
            shape = graph.node("Shape", [self.mask], place)
            self._kept["numbers"] = graph.node("Reshape", [number, shape], place)
        return self._kept["numbers"]
