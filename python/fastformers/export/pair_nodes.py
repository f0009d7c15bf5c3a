# SPDX-License-Identifier: MIT
"""The head of pair classifiers (:mod:`fastformers.pair_head`) as nodes: the cosine of both texts' rows, one layer."""

from __future__ import annotations

import numpy as np

from fastformers.export.builder import GraphBuilder
from fastformers.pair_head import PairHead

__all__ = ["write_pair_head"]

_PLACE = "pair_head"
_FLOAT = 1  # TensorProto.FLOAT
_BOOL = 9  # TensorProto.BOOL


def write_pair_head(graph: GraphBuilder, x: str, mask: str, ids: str, head: PairHead) -> str:
    """Writes the head.

    Args:
        graph: where to.
        x: the encoder's rows, [batch, length, hidden]; those of padding may be anything finite.
        mask: int64 [batch, length], 1 for a token.
        ids: int64 [batch, length].
        head: the weights.

    Returns:
        The logits, [batch, labels].
    """
    kept = graph.node("Cast", [mask], _PLACE, to=_BOOL)
    separator = graph.node("Equal", [ids, graph.number(head.separator_id, np.int64)], _PLACE)
    ends = graph.node("And", [separator, kept], _PLACE)
    special = graph.node(
        "Or", [ends, graph.node("Equal", [ids, graph.number(head.first_id, np.int64)], _PLACE)], _PLACE
    )
    text = graph.node("And", [kept, graph.node("Not", [special], _PLACE)], _PLACE)
    ended = graph.node(
        "CumSum", [graph.node("Cast", [ends], _PLACE, to=_FLOAT), graph.number(1, np.int64)], _PLACE
    )
    is_second = graph.node("Cast", [ended], _PLACE, to=_BOOL)
    is_first = graph.node("Not", [is_second], _PLACE)
    rows = graph.node("Cast", [x], _PLACE, to=_FLOAT)
    first, second = (
        _direction(graph, rows, graph.node("And", [text, part], _PLACE)) for part in (is_first, is_second)
    )
    product = graph.node("Mul", [first, second], _PLACE)
    cosine = graph.node("ReduceSum", [product, graph.number([-1], np.int64)], _PLACE, keepdims=1)
    cosine = graph.node("Cast", [cosine], _PLACE, to=graph.float_type)  # [batch, 1]
    weight = graph.constant("pair_head.weight", head.weight.T)
    return graph.node(
        "Add",
        [graph.node("MatMul", [cosine, weight], _PLACE), graph.constant("pair_head.bias", head.bias)],
        _PLACE,
    )


def _direction(graph: GraphBuilder, rows: str, of: str) -> str:
    """Sum of some rows, of length 1, or of 0 where there are none: a mean has the same direction."""
    factors = graph.node("Cast", [of], _PLACE, to=_FLOAT)
    factors = graph.node("Unsqueeze", [factors, graph.number([1], np.int64)], _PLACE)  # [batch, 1, length]
    total = graph.node(
        "Squeeze", [graph.node("MatMul", [factors, rows], _PLACE), graph.number([1], np.int64)], _PLACE
    )
    length = graph.node("ReduceL2", [total], _PLACE, axes=[-1], keepdims=1)
    is_none = graph.node("Not", [graph.node("Cast", [length], _PLACE, to=_BOOL)], _PLACE)
    divisor = graph.node("Add", [length, graph.node("Cast", [is_none], _PLACE, to=_FLOAT)], _PLACE)
    return graph.node("Div", [total, divisor], _PLACE)
