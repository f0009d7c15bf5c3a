# SPDX-License-Identifier: MIT
"""Self-attention as ONNX Runtime's fused operator: padding, relative biases, local windows, rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers.encoder_plan import EncoderPlan, LayerPlan
from fastformers.export.builder import CONTRIB, GraphBuilder
from fastformers.export.linear_nodes import Linears
from fastformers.export.token_rows import TokenRows

__all__ = ["Attention"]

#: Added to the scores of keys that are not seen, as ONNX Runtime's operators do for padding.
_HIDDEN_SCORE = -10_000.0


class Attention:
    """Writes the attention of each layer, up to its output projection.

    Args:
        graph: where to.
        plan: of the encoder.
        tensors: of the plan.
        linears: writes its projections.
        rows: lays rows of tokens out for attention.
        positions: int64 [batch, length], the number of each token.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        plan: EncoderPlan,
        tensors: Mapping[str, NDArray[Any]],
        linears: Linears,
        rows: TokenRows,
        positions: str,
    ) -> None:
        self._graph, self._plan, self._tensors, self._linears = graph, plan, tensors, linears
        self._rows, self._mask, self._positions = rows, rows.mask, positions
        self._kept: dict[object, str] = {}

    def can_ask_first(self, number: int) -> bool:
        """Says whether a layer can compute queries for first tokens only: nothing in it depends on where a query is."""
        layer = self._plan.layers[number]
        biased = f"layers.{number}.relative_bias" in self._tensors
        return not (self._plan.pre_norm or biased or layer.window >= 0 or layer.rope_base or not layer.heads)

    def write(self, x: str, number: int, first_only: bool) -> tuple[str, str | None, str]:
        """Writes a layer's attention.

        Args:
            x: rows of tokens, [..., hidden].
            number: of the layer.
            first_only: only first tokens are read afterwards.

        Returns:
            The output projection's product, empty for a layer without heads; the projection's bias where that is still
            to be added; and the rows of x that both belong to: all, or those of first tokens, [batch, hidden].
        """
        layer, place = self._plan.layers[number], f"layers.{number}"
        first_only = first_only and self.can_ask_first(number)
        asking = self._rows.first(x) if first_only else x
        if not layer.heads:
            return "", self._linears.bias(f"{place}.output"), asking
        bias = self._linears.bias(f"{place}.qkv") or ""
        self._graph.fused["attention"] += 1
        if not first_only and bias and self._fits_int8_attention(layer, place):
            mixed = self._rows.pack(self._int8(x, layer, place, bias), place)
            return *self._linears.product_and_bias(mixed, f"{place}.output"), x
        mixed = self._float32(asking, x, layer, place, bias)
        mixed = self._alone(mixed, place) if first_only else self._rows.pack(mixed, place)
        return *self._linears.product_and_bias(mixed, f"{place}.output"), asking

    def _float32(self, asking: str, x: str, layer: LayerPlan, place: str, bias: str) -> str:
        """Attention of some rows, ``asking``, over all of x, with its products in float."""
        first_only, width = asking != x, layer.heads * layer.head_size
        parts = [slice(part * width, (part + 1) * width) for part in range(3)]
        sources = (asking, x, x)
        q, k, v = (self._linears.product(s, f"{place}.qkv", p) for s, p in zip(sources, parts, strict=True))
        q = self._as_texts(q, place) if first_only else self._rows.lay_out(q, place)
        k, v = self._rows.lay_out(k, place), self._rows.lay_out(v, place)
        if layer.rope_base:
            q, k, v = (
                self._biased(value, f"{place}.qkv", p) for value, p in zip((q, k, v), parts, strict=True)
            )
            q, k, bias = self._rotated(q, layer, place), self._rotated(k, layer, place), ""
        return self._graph.node(
            "MultiHeadAttention",
            [q, k, v, bias, self._padding(), self._score_bias(layer, f"{place}.relative_bias")],
            place,
            domain=CONTRIB,
            num_heads=layer.heads,
            mask_filter_value=_HIDDEN_SCORE,
        )

    def _as_texts(self, rows: str, place: str) -> str:
        """[batch, C] -> [batch, 1, C]: texts of one token."""
        return self._graph.node("Unsqueeze", [rows, self._graph.number([1], np.int64)], place)

    def _alone(self, texts: str, place: str) -> str:
        """[batch, 1, C] -> [batch, C]."""
        return self._graph.node("Squeeze", [texts, self._graph.number([1], np.int64)], place)

    def _padding(self) -> str:
        """The mask as ONNX Runtime's attention takes it, int32."""
        if "padding" not in self._kept:
            self._kept["padding"] = self._graph.node(
                "Cast", [self._mask], "attention", to=6
            )  # TensorProto.INT32
        return self._kept["padding"]

    def _fits_int8_attention(self, layer: LayerPlan, place: str) -> bool:
        """ONNX Runtime's INT8 attention projects and attends in one operator, and nothing comes between."""
        plain = f"{place}.relative_bias" not in self._tensors and layer.window < 0 and not layer.rope_base
        name = f"{place}.qkv"
        return plain and self._linears.is_int8(name) and not self._linears.has_equal_rows(name)

    def _int8(self, x: str, layer: LayerPlan, place: str, bias: str) -> str:
        (rows, matrix), scale, weight_scale, zero_point = self._linears.quantized_inputs(x, f"{place}.qkv")
        return self._graph.node(
            "QAttention",
            [self._rows.lay_out(rows, place), matrix, bias, scale, weight_scale, self._padding(), zero_point],
            place,
            domain=CONTRIB,
            num_heads=layer.heads,
            mask_filter_value=_HIDDEN_SCORE,
        )

    def _biased(self, x: str, name: str, columns: slice) -> str:
        bias = self._linears.bias(name, columns)
        return x if bias is None else self._graph.node("Add", [x, bias], name)

    def _rotated(self, x: str, layer: LayerPlan, place: str) -> str:
        half = layer.head_size // 2
        frequencies = layer.rope_base ** -(np.arange(half, dtype=np.float64) / half)
        angles = np.arange(self._plan.max_tokens)[:, None] * frequencies
        name = f"rotary/{layer.rope_base:g}x{layer.head_size}"
        cosines = self._graph.constant(f"{name}/cos", np.cos(angles).astype(np.float32))
        sines = self._graph.constant(f"{name}/sin", np.sin(angles).astype(np.float32))
        return self._graph.node(
            "RotaryEmbedding",
            [x, self._positions, cosines, sines],
            place,
            domain=CONTRIB,
            num_heads=layer.heads,
            rotary_embedding_dim=layer.head_size,
        )

    def _score_bias(self, layer: LayerPlan, name: str) -> str:
        """What is added to the scores, [1, heads or 1, length, length]; empty for nothing. Equal ones are made once."""
        table = self._tensors.get(name)
        key = (layer.window, None if table is None else (layer.heads, table.tobytes()))
        if key not in self._kept:
            bias = "" if table is None else self._relative(table, name)
            if layer.window >= 0:
                window = self._window(layer.window)
                bias = self._graph.node("Add", [bias, window], name) if bias else window
            self._kept[key] = bias
        return self._kept[key]

    def _distances(self) -> str:
        """Place of the key less place of the query, int64 [length, length]."""
        if "distances" not in self._kept:
            graph, place = self._graph, "distances"
            length = graph.node("Shape", [self._mask], place, start=1, end=2)
            length = graph.node("Squeeze", [length], place)
            zero, one = graph.number(0, np.int64), graph.number(1, np.int64)
            places = graph.node("Range", [zero, length, one], place)
            rows = graph.node("Unsqueeze", [places, graph.number([1], np.int64)], place)
            self._kept["distances"] = graph.node("Sub", [places, rows], place)
        return self._kept["distances"]

    def _relative(self, table: NDArray[Any], name: str) -> str:
        graph = self._graph
        middle = graph.number((table.shape[1] - 1) // 2, np.int64)
        index = graph.node("Add", [self._distances(), middle], name)
        index = graph.node("Max", [index, graph.number(0, np.int64)], name)
        index = graph.node("Min", [index, graph.number(table.shape[1] - 1, np.int64)], name)
        bias = graph.node("Gather", [graph.constant(name, table), index], name, axis=1)
        return graph.node("Unsqueeze", [bias, graph.number([0], np.int64)], name)

    def _window(self, window: int) -> str:
        graph, place = self._graph, "window"
        far = graph.node(
            "Greater", [graph.node("Abs", [self._distances()], place), graph.number(window, np.int64)], place
        )
        bias = graph.node("Where", [far, graph.number(_HIDDEN_SCORE), graph.number(0.0)], place)
        return graph.node("Unsqueeze", [bias, graph.number([0, 1], np.int64)], place)
