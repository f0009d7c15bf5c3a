# SPDX-License-Identifier: MIT
"""Heads beside the encoder plan (:mod:`fastformers.text_head`) as nodes, with the inputs and outputs they bring."""

from __future__ import annotations

import numpy as np

from fastformers.export.builder import GraphBuilder
from fastformers.export.pair_nodes import write_pair_head
from fastformers.export.span_nodes import write_span_head
from fastformers.pair_head import PairHead
from fastformers.text_head import TextHead

__all__ = ["write_text_head"]


def write_text_head(graph: GraphBuilder, x: str, ids: str, mask: str, head: TextHead) -> None:
    """Writes the head and its output ``logits``; one over marked spans has an input ``spans``.

    Args:
        graph: where to.
        x: the encoder's rows, [batch, length, hidden].
        ids: int64 [batch, length].
        mask: int64 [batch, length], 1 for a token.
        head: the head.
    """
    if isinstance(head, PairHead):
        logits = write_pair_head(graph, x, mask, ids, head)
    else:
        spans = graph.input("spans", np.int64, ("batch", head.num_spans, 2))
        logits = write_span_head(graph, x, mask, spans, head)
    graph.output("logits", logits, ("batch", head.labels))
