# SPDX-License-Identifier: MIT
"""Heads that stand beside the encoder plan: over marked spans, and over the two texts of a pair."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastformers.errors import ShapeError
from fastformers.pair_head import PairHead
from fastformers.span_head import SpanHead

__all__ = ["TextHead", "logits_of"]

TextHead: TypeAlias = SpanHead | PairHead


def logits_of(
    head: TextHead,
    rows: NDArray[Any],
    offsets: NDArray[Any],
    ids: NDArray[Any],
    spans: NDArray[Any] | None,
) -> NDArray[np.float32]:
    """Computes a head's logits, float32 [texts, labels].

    Args:
        head: the head.
        rows: the encoder's rows of all texts, back to back, float32 [tokens, hidden].
        offsets: where each text begins, and the end of the last, [texts + 1].
        ids: of all tokens, [tokens].
        spans: token ranges [start, end) inside each text, [texts, num_spans, 2], of a head that reads them.

    Raises:
        ShapeError: ``spans`` is missing or does not fit.
    """
    if isinstance(head, PairHead):
        return head.logits(rows, offsets, ids)
    if spans is None:
        raise ShapeError(f"spans is missing, must be of shape [{len(offsets) - 1}, {head.num_spans}, 2]")
    return head.logits(rows, offsets, spans)
