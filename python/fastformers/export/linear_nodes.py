# SPDX-License-Identifier: MIT
"""Linear layers as nodes: float32, or INT8 with activations quantized at run time.

ONNX Runtime quantizes activations with one range for a whole tensor, so a row with large values takes resolution from
all others. That hurts where rows differ most: in front of a feed-forward network's second matrix. There each row is
divided by its own largest value first and the product multiplied by it after: all rows then span the same range, and
the one range of the tensor is as good as one for each row. ``docs/onnx.md`` has what that gives and costs, and what it
would at the other matrices.

Weights stay s8 with one scale for each column, as the plan has them. On CPUs without VNNI the product of u8 and s8
would saturate in ONNX Runtime; its session option ``session.x64quantprecision``, which
:mod:`fastformers.export.session` sets, avoids that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers.export.activation_nodes import write_activation
from fastformers.export.builder import CONTRIB, GraphBuilder

__all__ = ["EQUAL_ROWS", "Linears", "with_folded_factors"]

#: Layers whose activations get equal ranges for all rows: `bench/onnx` measured what the others would give.
EQUAL_ROWS = (".down",)

_SMALLEST = float(np.finfo(np.float32).tiny)
_FUSED_WITH_BIAS = {"gelu": "BiasGelu", "gelu_tanh": "FastGelu"}


@dataclass
class _Prepared:
    """An activation as INT8 products read it."""

    quantized: str
    scale: str
    zero_point: str
    row_scale: str | None


@dataclass
class Linears:
    """Writes the linear layers of a plan.

    Attributes:
        graph: where to.
        tensors: of the plan.
        equal_rows: ends of the names of the layers whose activations get equal ranges for all rows.
        rows_are_2d: x is [tokens, K] in the layers, see :mod:`fastformers.export.token_rows`.
    """

    graph: GraphBuilder
    tensors: Mapping[str, NDArray[Any]]
    equal_rows: tuple[str, ...] = EQUAL_ROWS
    rows_are_2d: bool = False
    _prepared: dict[tuple[str, bytes], _Prepared] = field(default_factory=dict)

    def bias(self, name: str, columns: slice = slice(None)) -> str | None:
        """Returns the layer's bias, or some columns of it; ``None`` without one."""
        value = self.tensors.get(f"{name}.bias")
        if value is None:
            return None
        return self.graph.constant(_part(f"{name}.bias", columns), value[columns])

    def product(self, x: str, name: str, columns: slice = slice(None)) -> str:
        """Multiplies x [..., K] by the layer's weights [N, K], or by some columns of them, without the bias."""
        weight = self.tensors[f"{name}.weight"][columns]
        if weight.dtype == np.int8:
            return self._int8(x, name, columns, weight)
        matrix = self.graph.constant(_part(f"{name}.weight", columns), weight.T)
        return self.graph.node("MatMul", [self._scaled(x, name), matrix], name)

    def with_bias(self, x: str, name: str) -> str:
        """Returns x W^T + bias."""
        return self._added(*self.product_and_bias(x, name), name)

    def product_and_bias(self, x: str, name: str) -> tuple[str, str | None]:
        """Returns x W^T and the bias that is still to be added; ``None`` when there is none or the product has it."""
        bias = self.bias(name)
        if bias is None or not self.is_int8(name) or self.has_equal_rows(name):
            return self.product(x, name), bias
        return self._int8(x, name, slice(None), self.tensors[f"{name}.weight"], bias), None

    def activated(self, x: str, name: str, activation: str) -> str:
        """Returns activation(x W^T + bias); a GELU and the bias in front of it are never two operators.

        Nor are a ReLU and the bias, but for float32 rows that keep padding: the fused operator takes [tokens, K] only.
        """
        if activation == "relu" and (self.is_int8(name) or self.rows_are_2d):
            self.graph.fused["bias + ReLU"] += 1
            if not self.is_int8(name):
                return self._product_with_relu(x, name)
        product, bias = self.product_and_bias(x, name)
        fused = _FUSED_WITH_BIAS.get(activation)
        self.graph.fused["bias + GELU"] += fused is not None
        if bias is not None and fused is not None:
            return self.graph.node(fused, [product, bias], name, domain=CONTRIB)
        return write_activation(self.graph, self._added(product, bias, name), activation, name)

    def _product_with_relu(self, x: str, name: str) -> str:
        matrix = self.graph.constant(f"{name}.weight", self.tensors[f"{name}.weight"].T)
        bias = self.bias(name)
        inputs = [self._scaled(x, name), matrix, *([] if bias is None else [bias])]
        return self.graph.node("FusedGemm", inputs, name, domain=CONTRIB, activation="Relu")

    def _added(self, product: str, bias: str | None, name: str) -> str:
        return product if bias is None else self.graph.node("Add", [product, bias], name)

    def is_int8(self, name: str) -> bool:
        """Says whether the layer exists and its weights are INT8."""
        weight = self.tensors.get(f"{name}.weight")
        return weight is not None and bool(weight.dtype == np.int8)

    def has_equal_rows(self, name: str) -> bool:
        """Says whether the layer's activations get equal ranges for all rows."""
        return name.endswith(self.equal_rows)

    def quantized_inputs(self, x: str, name: str) -> tuple[list[str], str, str, str]:
        """Returns what a fused INT8 operator takes.

        Returns:
            The u8 activation and the s8 weights [K, N]; the activation's scale; the weights' scales; its zero point.
        """
        prepared = self._prepare(x, name)
        matrix = self.graph.constant(f"{name}.weight", self.tensors[f"{name}.weight"].T)
        scale = self.graph.constant(f"{name}.scale", self.tensors[f"{name}.scale"])
        return [prepared.quantized, matrix], prepared.scale, scale, prepared.zero_point

    def _int8(self, x: str, name: str, columns: slice, weight: NDArray[Any], bias: str = "") -> str:
        graph = self.graph
        prepared = self._prepare(x, name)
        matrix = graph.constant(_part(f"{name}.weight", columns), weight.T)
        scale = graph.constant(_part(f"{name}.scale", columns), self.tensors[f"{name}.scale"][columns])
        product = graph.node(
            "MatMulIntegerToFloat",
            [
                prepared.quantized,
                matrix,
                prepared.scale,
                scale,
                prepared.zero_point,
                *(["", bias] if bias else []),
            ],
            name,
            domain=CONTRIB,
        )
        if prepared.row_scale is None:
            return product
        return graph.node("Mul", [product, prepared.row_scale], name)

    def _prepare(self, x: str, name: str) -> _Prepared:
        """Quantizes an activation, once for all layers that read it with the same factors."""
        factors = self.tensors.get(f"{name}.factors")
        key = (x, b"" if factors is None else factors.tobytes())
        if key not in self._prepared:
            self._prepared[key] = self._quantize(self._scaled(x, name), name)
        return self._prepared[key]

    def _quantize(self, x: str, name: str) -> _Prepared:
        graph, largest = self.graph, None
        if self.has_equal_rows(name):
            largest = self._largest(x, name)
            x = graph.node("Mul", [x, graph.node("Reciprocal", [largest], name)], name)
        quantized = graph.node("DynamicQuantizeLinear", [x], name, outputs=3)
        return _Prepared(quantized, graph.further(quantized, 1), graph.further(quantized, 2), largest)

    def _largest(self, x: str, name: str) -> str:
        """The largest magnitude of each row; of two reductions, because ``Abs`` would write all of x once more."""
        graph = self.graph
        above = graph.node("ReduceMax", [x], name, axes=[-1], keepdims=1)
        below = graph.node("Neg", [graph.node("ReduceMin", [x], name, axes=[-1], keepdims=1)], name)
        return graph.node("Max", [above, below, graph.number(_SMALLEST)], name)  # a row of zeros stays one

    def _scaled(self, x: str, name: str) -> str:
        """X times the equalisation factors."""
        factors = self.tensors.get(f"{name}.factors")
        if factors is None:
            return x
        return self.graph.node("Mul", [x, self.graph.constant(f"{name}.factors", factors)], name)


def _part(name: str, columns: slice) -> str:
    return name if columns == slice(None) else f"{name}[{columns.start}:{columns.stop}]"


def with_folded_factors(
    tensors: Mapping[str, NDArray[Any]], widths: Sequence[int], *, relu: bool = False
) -> dict[str, NDArray[Any]]:
    """Moves equalisation factors into the layer before, where they are free.

    Those of attention's output projection go into the values' columns, and those of a feed-forward network's second
    matrix into its first one, if only a ReLU is between: they are positive.

    Args:
        tensors: of a plan.
        widths: heads x head size of each layer.
        relu: the activation between, and nothing is gated.
    """
    folded = dict(tensors)
    for number, width in enumerate(widths):
        place = f"layers.{number}"
        factors = folded.pop(f"{place}.output.factors", None)
        if factors is not None:
            _scale_columns(folded, f"{place}.qkv", np.concatenate([np.ones(2 * width, np.float32), factors]))
        factors = folded.pop(f"{place}.down.factors", None) if relu else None
        if factors is not None:
            _scale_columns(folded, f"{place}.up", factors)
    return folded


def _scale_columns(tensors: dict[str, NDArray[Any]], name: str, gain: NDArray[np.float32]) -> None:
    """Multiplies what a layer puts out, before its activation."""
    kind = "scale" if f"{name}.scale" in tensors else "weight"
    tensors[f"{name}.{kind}"] = (tensors[f"{name}.{kind}"].T * gain).T.astype(np.float32)
    if f"{name}.bias" in tensors:
        tensors[f"{name}.bias"] = tensors[f"{name}.bias"] * gain
