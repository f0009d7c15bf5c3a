# SPDX-License-Identifier: MIT
"""Linear layers and attention as our own operators between ONNX Runtime's nodes (``csrc/ort``).

The tensors go into the graph as the compiled encoder holds them: INT8 weights, scales and equalisation factors are not
folded anywhere, so each linear layer gives the bits of :func:`fastformers.kernels.linear`. Queries, keys and values
are one layer, as in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fastformers.encoder_plan import EncoderPlan
from fastformers.export.attention_nodes import Attention
from fastformers.export.builder import DOMAIN, GraphBuilder
from fastformers.export.linear_nodes import Linears
from fastformers.export.token_rows import TokenRows

__all__ = ["ATTENTION", "LINEAR", "NativeAttention", "NativeLinears", "native_blocks"]

#: What is counted, in the words of the report.
LINEAR, ATTENTION = "linear layers", "attention blocks"
#: Activations that the operator computes along with the product.
_ALONG = frozenset({"none", "relu", "gelu", "gelu_tanh"})
#: Linear layers inside the encoder; those of heads stay float32, as in the engine.
_ENCODER = ("embeddings.projection.weight", ".qkv.weight", ".output.weight", ".up.weight", ".down.weight")


class NativeLinears(Linears):
    """INT8 layers are our ``Linear``, with bias; float32 ones stay ONNX Runtime's."""

    def bias(self, name: str, columns: slice = slice(None)) -> str | None:
        """Returns the bias that is still to be added: none where the operator adds it."""
        return None if self.is_int8(name) else super().bias(name, columns)

    def product(self, x: str, name: str, columns: slice = slice(None)) -> str:
        """Multiplies x [..., K] by the layer's weights [N, K]; INT8 layers also add their bias."""
        if not self.is_int8(name):
            return super().product(x, name, columns)
        return self._linear(x, name, "none")

    def activated(self, x: str, name: str, activation: str) -> str:
        """Returns activation(x W^T + bias), as one operator where it knows the activation."""
        if not self.is_int8(name) or activation not in _ALONG:
            return super().activated(x, name, activation)
        return self._linear(x, name, activation)

    def _linear(self, x: str, name: str, activation: str) -> str:
        self.graph.fused[LINEAR] += 1
        optional = ("bias", "factors")
        inputs = [x, *(self._tensor(f"{name}.{part}") for part in ("weight", "scale", *optional))]
        while not inputs[-1]:
            inputs.pop()
        return self.graph.node("Linear", inputs, name, domain=DOMAIN, activation=activation)

    def _tensor(self, name: str) -> str:
        return self.graph.constant(name, self.tensors[name]) if name in self.tensors else ""


class NativeAttention(Attention):
    """Attention is our operator, behind one layer for queries, keys and values.

    Args:
        graph: where to.
        plan: of the encoder.
        tensors: of the plan.
        linears: writes its projections.
        rows: lays rows of tokens out for attention.
        positions: int64 [batch, length], the number of each token.
        products: ``"auto"``, ``"float32"`` or ``"int8"``.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        plan: EncoderPlan,
        tensors: Mapping[str, NDArray[Any]],
        linears: Linears,
        rows: TokenRows,
        positions: str,
        products: str,
    ) -> None:
        super().__init__(graph, plan, tensors, linears, rows, positions)
        self._products = products

    def can_ask_first(self, number: int) -> bool:
        """Says whether what follows attention can be computed for first tokens only."""
        return bool(self._plan.layers[number].heads) and not self._plan.pre_norm

    def write(self, x: str, number: int, first_only: bool) -> tuple[str, str | None, str]:
        """Writes a layer's attention, see :meth:`Attention.write`; all queries are asked in any case."""
        layer, place = self._plan.layers[number], f"layers.{number}"
        if not layer.heads:
            return "", self._linears.bias(f"{place}.output"), x
        qkv = self._rows.lay_out(self._linears.with_bias(x, f"{place}.qkv"), place)
        if layer.rope_base:
            query = self._graph.node("Split", [qkv], place, outputs=3, axis=-1)
            key, value = self._graph.further(query, 1), self._graph.further(query, 2)
            rotated = [self._rotated(each, layer, place) for each in (query, key)]
            qkv = self._graph.node("Concat", [*rotated, value], place, axis=-1)
        bias = f"{place}.relative_bias"
        self._graph.fused[ATTENTION] += 1
        mixed = self._graph.node(
            "Attention",
            [
                qkv,
                self._mask,
                *([self._graph.constant(bias, self._tensors[bias])] if bias in self._tensors else []),
            ],
            place,
            domain=DOMAIN,
            heads=layer.heads,
            head_size=layer.head_size,
            window=layer.window,
            products=self._products,
        )
        mixed = self._rows.pack(mixed, place)
        if first_only and self.can_ask_first(number):
            mixed, x = self._rows.first(mixed), self._rows.first(x)
        return *self._linears.product_and_bias(mixed, f"{place}.output"), x


def native_blocks(
    graph: GraphBuilder, plan: EncoderPlan, tensors: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[int, int]]:
    """Counts the blocks of a written graph that are our operators.

    Args:
        graph: written.
        plan: of the encoder.
        tensors: of the plan.

    Returns:
        :data:`LINEAR` and :data:`ATTENTION` -> (how many are ours, how many the encoder has). Queries, keys and values
        count as one linear layer.
    """
    linears = sum(name.endswith(_ENCODER) and not name.startswith("outputs.") for name in tensors)
    wanted = {LINEAR: linears, ATTENTION: sum(layer.heads > 0 for layer in plan.layers)}
    return {name: (graph.fused[name], count) for name, count in wanted.items() if count}
