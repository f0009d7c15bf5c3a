# SPDX-License-Identifier: MIT
"""The head of span classifiers (:mod:`fastformers.span_head`) as nodes: masked max-pooling and one linear layer."""

from __future__ import annotations

import numpy as np

from fastformers.export.builder import GraphBuilder
from fastformers.span_head import SPAN_FILLS, SpanHead

__all__ = ["write_span_head"]

#: Stands for minus infinity in either precision: no row of an encoder is near it.
_LOWEST = float(np.finfo(np.float16).min)


def write_span_head(graph: GraphBuilder, x: str, mask: str, spans: str, head: SpanHead) -> str:
    """Writes the head.

    Args:
        graph: where to.
        x: the encoder's rows, [batch, length, hidden].
        mask: int64 [batch, length], 1 for a token.
        spans: int64 [batch, spans, 2], token ranges [start, end) counted from the first token that the mask keeps.
        head: the weights.

    Returns:
        The logits, [batch, labels].
    """
    place = "span_head"
    count = graph.node("CumSum", [mask, graph.number(1, np.int64)], place)
    token = graph.node("Sub", [count, graph.number(1, np.int64)], place)
    token = graph.node("Unsqueeze", [token, graph.number([1], np.int64)], place)  # [batch, 1, length]
    kept = graph.node(
        "Unsqueeze", [graph.node("Cast", [mask], place, to=9), graph.number([1], np.int64)], place
    )
    start = graph.node("Gather", [spans, graph.number([0], np.int64)], place, axis=2)  # [batch, spans, 1]
    end = graph.node("Gather", [spans, graph.number([1], np.int64)], place, axis=2)
    after = graph.node("GreaterOrEqual", [token, start], place)
    inside = graph.node(
        "And", [graph.node("And", [after, graph.node("Less", [token, end], place)], place), kept], place
    )
    fill = max(SPAN_FILLS[head.fill], _LOWEST)
    # Tokens outside a span count as the fill, padding as nothing.
    outside = graph.node("Where", [kept, graph.number(fill), graph.number(_LOWEST)], place)
    last = graph.number([-1], np.int64)
    chosen = graph.node(
        "Where",
        [
            graph.node("Unsqueeze", [inside, last], place),
            graph.node("Unsqueeze", [x, graph.number([1], np.int64)], place),
            graph.node("Unsqueeze", [outside, last], place),
        ],
        place,
    )
    pooled = graph.node("ReduceMax", [chosen], place, axes=[2], keepdims=0)  # [batch, spans, hidden]
    flat = graph.node("Reshape", [pooled, graph.number([0, head.weight.shape[1]], np.int64)], place)
    weight = graph.constant("span_head.weight", head.weight.T)
    return graph.node(
        "Add",
        [graph.node("MatMul", [flat, weight], place), graph.constant("span_head.bias", head.bias)],
        place,
    )
