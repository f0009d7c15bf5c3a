# SPDX-License-Identifier: MIT
"""Writes the ONNX graph of an encoder plan, fused as ONNX Runtime computes it best.

A plan is plain data for every family, head and pruned shape (:mod:`fastformers.encoder_plan`), so nothing is traced
and nothing has to be recognised afterwards: attention, (skip) LayerNorm, bias + GELU and embeddings + LayerNorm are
written as ONNX Runtime's own operators from the start, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers.encoder_plan import EncoderPlan, HeadStep, OutputPlan
from fastformers.export.activation_nodes import write_activation
from fastformers.export.attention_nodes import Attention
from fastformers.export.builder import CONTRIB, DOMAIN, GraphBuilder
from fastformers.export.linear_nodes import EQUAL_ROWS, Linears, with_folded_factors
from fastformers.export.native_layers import NativeAttention, NativeLinears, native_blocks
from fastformers.export.output_nodes import write_output
from fastformers.export.text_head_nodes import write_text_head
from fastformers.export.token_rows import TokenRows
from fastformers.text_head import TextHead

__all__ = ["EncoderGraph", "write_encoder"]

#: Euclidean length of a row of zeros, in float16 too.
_SHORTEST = 6e-8


@dataclass(frozen=True)
class EncoderGraph:
    """A written graph.

    Attributes:
        model: the ``onnx.ModelProto``.
        fused: name of a fused block -> (how many were written fused, how many there are).
        layer_outputs: names of the values that leave each layer, for finding where two computations part: [tokens,
            hidden], or [batch, length, hidden]; of a last layer that computes first tokens only, [batch, hidden].
        native: kind of block -> (how many are nodes of ours, how many there are); empty for a graph without such.
    """

    model: Any
    fused: Mapping[str, tuple[int, int]]
    layer_outputs: tuple[str, ...]
    native: Mapping[str, tuple[int, int]]


def write_encoder(
    plan: EncoderPlan,
    tensors: Mapping[str, NDArray[Any]],
    *,
    text_head: TextHead | None = None,
    equal_rows: tuple[str, ...] = EQUAL_ROWS,
    half: bool = False,
    skip_padding: bool = True,
    native_attention: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> EncoderGraph:
    """Writes the graph.

    Args:
        plan: of the encoder.
        tensors: those that the plan names, float32 or int8.
        text_head: reads the rows; the graph then has the output ``logits`` and, over marked spans, an input ``spans``,
            int64 [batch, spans, 2].
        equal_rows: where INT8 activations get equal ranges for all rows, see :mod:`fastformers.export.linear_nodes`.
        half: weights and products in float16; LayerNorm, softmax and means accumulate in float32.
        skip_padding: compute nothing but attention for padding, see :mod:`fastformers.export.token_rows`. Not in
            float16 graphs: their GPUs would wait for the number of tokens, and their fused operators take batches.
        native_attention: INT8 linear layers and attention are fastformers' operators, with these products of attention:
            ``"auto"``, ``"float32"`` or ``"int8"``; ``None``: only ONNX Runtime's operators.
        metadata: kept in the file.

    Returns:
        The graph, with inputs ``input_ids``, ``attention_mask`` and, where there are token types, ``token_type_ids``:
        int64 [batch, length].

    Raises:
        MissingExtraError: onnx is not installed.
        UnsupportedModelError: a weight is too large for float16.
    """
    graph, skip_padding = GraphBuilder(half), skip_padding and not half
    if native_attention is not None:
        writer: _Writer = _NativeWriter(plan, tensors, text_head, graph, native_attention)
    else:
        widths = [layer.heads * layer.head_size for layer in plan.layers]
        folded = with_folded_factors(tensors, widths, relu=plan.activation == "relu" and not plan.gated)
        writer = _Writer(plan, folded, text_head, Linears(graph, folded, equal_rows, skip_padding))
    return writer.write(dict(metadata or {}), skip_padding)


class _Writer:
    domains: tuple[str, ...] = (CONTRIB,)

    def __init__(
        self,
        plan: EncoderPlan,
        tensors: Mapping[str, NDArray[Any]],
        text_head: TextHead | None,
        linears: Linears,
    ) -> None:
        self.plan, self.tensors, self.text_head = plan, tensors, text_head
        self.graph, self.linears = linears.graph, linears
        self.layer_outputs: list[str] = []

    def write(self, metadata: dict[str, str], skip_padding: bool) -> EncoderGraph:
        graph, plan = self.graph, self.plan
        shape = ("batch", "length")
        self.ids = graph.input("input_ids", np.int64, shape)
        self.mask = graph.input("attention_mask", np.int64, shape)
        self.types = graph.input("token_type_ids", np.int64, shape) if plan.types else ""
        self.rows = TokenRows(graph, self.mask, skip_padding)
        self.positions = self._positions()
        self.attention = self._attention()
        x = self._embed()
        only_first = all(output.rows == "first" for output in plan.outputs) and self.text_head is None
        for number in range(len(plan.layers)):
            is_last = number + 1 == len(plan.layers)
            x = self._layer(x, number, only_first and is_last)
            self.layer_outputs.append(x)
        cut = only_first and bool(plan.layers) and self.attention.can_ask_first(len(plan.layers) - 1)
        x = self._norm(x, "final_norm")
        if self.text_head is not None:
            write_text_head(graph, self.rows.lay_out(x, "text_head"), self.ids, self.mask, self.text_head)
        else:
            for output in plan.outputs:
                self._output(x, output, cut)
        model = graph.model(metadata, self.domains)
        return EncoderGraph(model, self._fused(), tuple(self.layer_outputs), self._native())

    def _attention(self) -> Attention:
        return Attention(self.graph, self.plan, self.tensors, self.linears, self.rows, self.positions)

    def _native(self) -> dict[str, tuple[int, int]]:
        return {}

    def _fused(self) -> dict[str, tuple[int, int]]:
        graph, plan = self.graph, self.plan
        activated = 0 if plan.gated else sum(layer.intermediate > 0 for layer in plan.layers)
        wanted = {
            "attention": sum(layer.heads > 0 for layer in plan.layers),
            "skip + LayerNorm": self._norms_with_sums() if graph.half else 0,
            "bias + GELU": activated if plan.activation in ("gelu", "gelu_tanh") else 0,
            "bias + ReLU": activated if plan.activation == "relu" and not graph.half else 0,
            "embeddings + LayerNorm": int(
                graph.half and plan.positions > 0 and plan.embedding == plan.hidden
            ),
        }
        return {name: (graph.fused[name], count) for name, count in wanted.items() if count}

    def _norms_with_sums(self) -> int:
        layers = self.plan.layers
        after_ffn = 0 if self.plan.pre_norm else sum(layer.intermediate > 0 for layer in layers)
        return sum(layer.heads > 0 for layer in layers) + after_ffn

    def _positions(self) -> str:
        """Numbers the tokens that the mask keeps, as the engine does: padding on either side changes nothing."""
        if self.plan.position_offset:
            return self._positions_behind_padding()
        graph = self.graph
        count = graph.node("CumSum", [self.mask, graph.number(1, np.int64)], "positions")
        place = graph.node("Sub", [count, graph.number(1, np.int64)], "positions")
        return graph.node("Max", [place, graph.number(0, np.int64)], "positions")

    def _positions_behind_padding(self) -> str:
        """RoBERTa's rule: tokens of the padding id, which a text may hold, are not counted and have that id's row."""
        graph, padding = self.graph, self.graph.number(self.plan.position_offset - 1, np.int64)
        is_padding = graph.node("Equal", [self.ids, padding], "positions")
        counted = graph.node("Where", [is_padding, graph.number(0, np.int64), self.mask], "positions")
        count = graph.node("CumSum", [counted, graph.number(1, np.int64)], "positions")
        place = graph.node("Mul", [count, counted], "positions")
        return graph.node("Add", [place, padding], "positions")

    def _embed(self) -> str:
        plan, tensors = self.plan, self.tensors
        plain = "embeddings.word.scale" not in tensors and "embeddings.norm.bias" in tensors
        if (
            plan.embedding != plan.hidden
        ):  # ONNX Runtime infers the fused operator's width from the wrong table
            return self.linears.with_bias(self._embedding_sum(), "embeddings.projection")
        fuses = self.graph.half and plan.positions and plain  # on CPUs the parts are faster, as in norms
        return self._fused_embeddings() if fuses else self._embedding_sum()

    def _fused_embeddings(self) -> str:
        graph, tensors = self.graph, self.tensors
        table = {
            name: graph.constant(name, tensors[name]) for name in tensors if name.startswith("embeddings.")
        }

        def as_int32(value: str) -> str:
            return graph.node("Cast", [value], "embeddings", to=6) if value else ""  # TensorProto.INT32

        graph.fused["embeddings + LayerNorm"] += 1
        return graph.node(
            "EmbedLayerNormalization",
            [
                as_int32(self.ids),
                as_int32(self.types),
                table["embeddings.word"],
                table["embeddings.position"],
                table.get("embeddings.type", ""),
                table["embeddings.norm.weight"],
                table["embeddings.norm.bias"],
                "",
                as_int32(self.positions),
            ],
            "embeddings",
            domain=CONTRIB,
            outputs=2,
            epsilon=self.plan.norm_epsilon,
        )

    def _embedding_sum(self) -> str:
        graph, plan = self.graph, self.plan
        ids = self.rows.pack(self.ids, "embeddings")
        x = self._rows_of("embeddings.word", ids)
        if "embeddings.word.scale" in self.tensors:
            scale = self._rows_of("embeddings.word.scale", ids)
            scale = graph.node("Unsqueeze", [scale, graph.number([-1], np.int64)], "embeddings")
            x = graph.node(
                "Mul", [graph.node("Cast", [x], "embeddings", to=graph.float_type), scale], "embeddings"
            )
        terms = [x]
        if plan.types:
            terms.append(self._rows_of("embeddings.type", self.rows.pack(self.types, "embeddings")))
        if plan.positions:
            terms.append(self._rows_of("embeddings.position", self.rows.pack(self.positions, "embeddings")))
        total = graph.node("Sum", terms, "embeddings") if len(terms) > 1 else x
        return self._norm(total, "embeddings.norm")

    def _rows_of(self, name: str, indices: str) -> str:
        table = self.graph.constant(name, self.tensors[name])
        return self.graph.node("Gather", [table, indices], "embeddings", axis=0)

    def _layer(self, x: str, number: int, first_only: bool) -> str:
        place, plan = f"layers.{number}", self.plan
        if plan.pre_norm:
            normed = self._norm(x, f"{place}.attention_norm")
            mixed, bias, _ = self.attention.write(normed, number, False)
            x, normed = self._added_norm(mixed, bias, x, f"{place}.ffn_norm")
            for added in filter(None, self._ffn(normed, number)):
                x = self.graph.node("Add", [x, added], place)
            return x
        mixed, bias, x = self.attention.write(x, number, first_only)
        _, x = self._added_norm(mixed, bias, x, f"{place}.attention_norm")
        return self._added_norm(*self._ffn(x, number), x, f"{place}.ffn_norm")[1]

    def _added_norm(self, y: str, bias: str | None, x: str, norm: str) -> tuple[str, str]:
        """Returns (x + y + bias, the norm of that); ``y`` may be empty and ``bias`` ``None``.

        ONNX Runtime's operator for both at once takes 6 to 8 times as long as the two on a CPU (``bench/onnx/norms``),
        and a session turns ``Add`` and LayerNorm into it; ``Sum`` it leaves alone. GPUs have a fast one, so float16
        graphs keep it.
        """
        terms = [term for term in (y, x, bias or "") if term]
        if not self.graph.half or not y:
            total = self.graph.node("Sum", terms, norm) if len(terms) > 1 else x
            return total, self._norm(total, norm)
        return self._skip_norm(y, bias, x, norm)

    def _skip_norm(self, y: str, bias: str | None, x: str, norm: str) -> tuple[str, str]:
        graph = self.graph
        inputs = [y, x, graph.constant(f"{norm}.weight", self.tensors[f"{norm}.weight"])]
        norm_bias = self.tensors.get(f"{norm}.bias")
        inputs.append("" if norm_bias is None else graph.constant(f"{norm}.bias", norm_bias))
        inputs.append(bias or "")
        made = graph.node(
            "SkipLayerNormalization",
            inputs,
            norm,
            domain=CONTRIB,
            outputs=4 if self.plan.pre_norm else 1,
            epsilon=self.plan.norm_epsilon,
        )
        graph.fused["skip + LayerNorm"] += 1
        return graph.further(made, 3), made

    def _ffn(self, x: str, number: int) -> tuple[str, str | None]:
        """The feed-forward network's product, empty when the layer has no neurons, and the bias still to be added."""
        place, plan, graph = f"layers.{number}", self.plan, self.graph
        if plan.layers[number].intermediate == 0:
            return "", self.linears.bias(f"{place}.down")
        if plan.gated:
            between = self.linears.with_bias(x, f"{place}.up")
            a = graph.node("Split", [between], f"{place}.up", outputs=2, axis=-1)
            gated = graph.node(
                "Mul", [write_activation(graph, a, plan.activation, place), graph.further(a, 1)], place
            )
            return self.linears.product_and_bias(gated, f"{place}.down")
        up = self.linears.activated(x, f"{place}.up", plan.activation)
        return self.linears.product_and_bias(up, f"{place}.down")

    def _norm(self, x: str, name: str) -> str:
        """LayerNorm, or nothing where the plan has none."""
        weight, bias = self.tensors.get(f"{name}.weight"), self.tensors.get(f"{name}.bias")
        if weight is None:
            return x
        inputs = [x, self.graph.constant(f"{name}.weight", weight)]
        inputs += [] if bias is None else [self.graph.constant(f"{name}.bias", bias)]
        return self.graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=self.plan.norm_epsilon)

    def _output(self, x: str, output: OutputPlan, cut: bool) -> None:
        graph, place = self.graph, f"outputs.{output.name}"
        if output.rows == "first" and not cut:  # else the last layer computed only that row of each text
            x = self.rows.first(x)
        elif output.rows == "mean":
            x = self._mean(self.rows.lay_out(x, place), place)
        for number, step in enumerate(output.steps):
            x = self._step(x, f"{place}.{number}", step)
        if output.normalize:
            length = graph.node("ReduceL2", [x], place, axes=[-1], keepdims=1)
            x = graph.node("Div", [x, graph.node("Max", [length, graph.number(_SHORTEST)], place)], place)
        if output.rows == "all":
            x = self.rows.lay_out_zeros(x, place)
        write_output(graph, self.plan, output, x)

    def _step(self, x: str, place: str, step: HeadStep) -> str:
        if step.linear:
            x = self.linears.with_bias(x, f"{place}.linear")
        x = write_activation(self.graph, x, step.activation, place)
        return self._norm(x, f"{place}.norm") if step.norm else x

    def _mean(self, x: str, place: str) -> str:
        """Mean over the tokens, summed in float32."""
        graph, kept = self.graph, self.rows.kept(place)
        rows = graph.node("Mul", [graph.node("Cast", [x], place, to=1), kept], place)
        axis = graph.number([1], np.int64)
        total = graph.node("ReduceSum", [rows, axis], place, keepdims=0)
        count = graph.node("ReduceSum", [kept, axis], place, keepdims=0)
        mean = graph.node("Div", [total, count], place)
        return graph.node("Cast", [mean], place, to=graph.float_type)


class _NativeWriter(_Writer):
    """Linear layers and attention as our operators: the engine's weights, scales and factors, as they are."""

    domains = (CONTRIB, DOMAIN)

    def __init__(
        self,
        plan: EncoderPlan,
        tensors: Mapping[str, NDArray[Any]],
        text_head: TextHead | None,
        graph: GraphBuilder,
        products: str,
    ) -> None:
        super().__init__(plan, tensors, text_head, NativeLinears(graph, tensors))
        self.products = products

    def _attention(self) -> Attention:
        return NativeAttention(
            self.graph, self.plan, self.tensors, self.linears, self.rows, self.positions, self.products
        )

    def _fused(self) -> dict[str, tuple[int, int]]:
        """What is left to ONNX Runtime's fused operators."""
        ours = ("attention", "bias + GELU", "bias + ReLU")
        return {name: counts for name, counts in super()._fused().items() if name not in ours}

    def _native(self) -> dict[str, tuple[int, int]]:
        return native_blocks(self.graph, self.plan, self.tensors)
