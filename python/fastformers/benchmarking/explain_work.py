# SPDX-License-Identifier: MIT
"""Counts what an encoder computes for a text: multiply-accumulates of every matrix and of attention's products.

Only what the executor computes is counted: no padding, keys outside a window, or rows of the last layer that no output
reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastformers.encoder_plan import EncoderPlan, LayerPlan

__all__ = ["LEAST_INT8_TOKENS", "Precision", "Work", "work_of"]

#: Sequences of at least this many tokens have INT8 attention products under ``attention="auto"`` (kMinInt8Tokens of
#: csrc/encoder/attention.cc).
LEAST_INT8_TOKENS = 16

_FIRST_ROW = "only for each text's first token, the only row that is read"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One matrix, or the products of one layer's attention.

    Attributes:
        layer: number of its layer; None outside of the layers.
        name: ``qkv``, ``attention``, ``output``, ``up``, ``down``, ``embeddings.projection``, or a head's step as
            ``logits.0``.
        tensor: name of the matrix without ``.weight``, see :mod:`fastformers.encoder_plan`; empty for attention.
        columns: N of the matrix [N, K]; 0 for attention.
        depth: K of the matrix; 0 for attention.
        macs: multiply-accumulates, mean over the texts.
        int8_share: of attention: share of them in INT8 products; 0 for a matrix, whose weights decide.
        float_columns: columns held float32 beside what the weights' own precision says.
        note: what is left out, in words.
    """

    layer: int | None
    name: str
    tensor: str = ""
    columns: int = 0
    depth: int = 0
    macs: float
    int8_share: float = 0.0
    float_columns: int = 0
    note: str = ""


@dataclass(frozen=True)
class Precision:
    """How a linear layer is held.

    Attributes:
        int8: INT8, else float32.
        reason: why.
    """

    int8: bool
    reason: str


def work_of(plan: EncoderPlan, lengths: Sequence[int], attention: str) -> list[Work]:
    """Counts the work of a plan, all of its outputs asked for.

    Args:
        plan: what is computed.
        lengths: tokens of each text, at least one text.
        attention: ``"auto"``, ``"float32"`` or ``"int8"``.

    Returns:
        In the order of computing.

    Example:
        >>> sum(work.macs for work in work_of(plan, [128], "auto"))
        1443889152.0
    """
    counted: list[Work] = []
    tokens = _mean(lengths, float)
    if plan.embedding != plan.hidden:
        size = plan.hidden * plan.embedding
        counted.append(
            Work(
                layer=None,
                name="embeddings.projection",
                tensor="embeddings.projection",
                columns=plan.hidden,
                depth=plan.embedding,
                macs=tokens * size,
            )
        )
    only_first = all(output.rows == "first" for output in plan.outputs)
    for number, layer in enumerate(plan.layers):
        last = only_first and number == len(plan.layers) - 1
        counted += _layer(plan, number, layer, lengths, attention, last)
    return counted + _outputs(plan, tokens)


def _layer(
    plan: EncoderPlan, number: int, layer: LayerPlan, lengths: Sequence[int], attention: str, first_only: bool
) -> list[Work]:
    rows, note = (1.0, _FIRST_ROW) if first_only else (_mean(lengths, float), "")
    made = []

    def matrix(name: str, columns: int, depth: int) -> Work:
        return Work(
            layer=number,
            name=name,
            tensor=f"layers.{number}.{name}",
            columns=columns,
            depth=depth,
            macs=rows * columns * depth,
            note=note,
        )

    width = layer.heads * layer.head_size
    if width:
        made += _attention(plan, number, layer, lengths, attention, first_only)
        made.append(matrix("output", plan.hidden, width))
    if layer.intermediate:
        made.append(matrix("up", layer.intermediate * (2 if plan.gated else 1), plan.hidden))
        made.append(matrix("down", plan.hidden, layer.intermediate))
    return made


def _attention(
    plan: EncoderPlan, number: int, layer: LayerPlan, lengths: Sequence[int], mode: str, first_only: bool
) -> list[Work]:
    """Projection and products.

    The last layer of a first-token model has no keys and values where it needs none: scores and context are products
    with the layer's input (csrc/encoder/first_token.cc).
    """
    width, tokens = layer.heads * layer.head_size, _mean(lengths, float)
    without_keys = first_only and layer.rope_base == 0 and layer.window < 0
    if without_keys:
        products, int8_share = 2 * layer.heads * plan.hidden * tokens, 0.0
        rows = 1.0
        note = f"{_FIRST_ROW}; without keys and values, float32 products with the layer's input"
    else:

        def pairs(length: int) -> float:
            return _visible(length, layer.window, 1 if first_only else length)

        def int8_pairs(length: int) -> float:
            int8 = mode == "int8" or (mode == "auto" and length >= LEAST_INT8_TOKENS)
            return pairs(length) if int8 else 0.0

        seen = _mean(lengths, pairs)
        products, int8_share = 2 * width * seen, _mean(lengths, int8_pairs) / seen
        rows = tokens
        note = _FIRST_ROW if first_only else ""
    projection = Work(
        layer=number,
        name="qkv",
        tensor=f"layers.{number}.qkv",
        columns=3 * width,
        depth=plan.hidden,
        macs=rows * 3 * width * plan.hidden,
        float_columns=width if without_keys else 0,
        note=note if without_keys else "",
    )
    return [
        projection,
        Work(layer=number, name="attention", macs=products, int8_share=int8_share, note=note),
    ]


def _outputs(plan: EncoderPlan, tokens: float) -> list[Work]:
    made = []
    for output in plan.outputs:
        depth, rows = plan.hidden, tokens if output.rows == "all" else 1.0
        for number, step in enumerate(output.steps):
            if step.linear:
                made.append(
                    Work(
                        layer=None,
                        name=f"{output.name}.{number}",
                        tensor=f"outputs.{output.name}.{number}.linear",
                        columns=step.features,
                        depth=depth,
                        macs=rows * step.features * depth,
                    )
                )
            depth = step.features
    return made


def _visible(length: int, window: int, queries: int) -> float:
    """Pairs of one of the first ``queries`` tokens and a key it sees."""
    if window < 0:
        return float(queries * length)
    return float(sum(min(length, i + window + 1) - max(0, i - window) for i in range(queries)))


def _mean(lengths: Sequence[int], value: Callable[[int], float]) -> float:
    return sum(map(value, lengths)) / len(lengths)
