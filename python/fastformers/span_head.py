# SPDX-License-Identifier: MIT
"""The head of a compiled span classifier, in NumPy: largest values over marked spans, side by side, one linear layer.

It stands beside the encoder plan and not in it: it reads token ranges, which no other model has, and what it computes
is a few thousand multiplications a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastformers.errors import ShapeError

__all__ = ["SPAN_FILLS", "SpanFill", "SpanHead"]

SpanFill = Literal["zero", "-inf"]

#: What tokens outside a span count as.
SPAN_FILLS: Mapping[str, float] = {"zero": 0.0, "-inf": float("-inf")}

_PREFIX = "span_head."


@dataclass(frozen=True)
class SpanHead:
    """The head with its weights.

    Attributes:
        num_spans: spans of a text.
        fill: key of :data:`SPAN_FILLS`.
        weight: float32 [labels, num_spans * hidden].
        bias: float32 [labels].
    """

    num_spans: int
    fill: SpanFill
    weight: NDArray[Any]
    bias: NDArray[Any]

    @property
    def labels(self) -> int:
        """Width of the logits."""
        return int(self.weight.shape[0])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the weights by the names they have in a file."""
        return {f"{_PREFIX}weight": self.weight, f"{_PREFIX}bias": self.bias}

    @staticmethod
    def shapes(num_spans: int, labels: int, hidden: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of :meth:`tensors`."""
        return {f"{_PREFIX}weight": (labels, num_spans * hidden), f"{_PREFIX}bias": (labels,)}

    @classmethod
    def taken_from(cls, tensors: dict[str, NDArray[Any]], num_spans: int, fill: SpanFill) -> SpanHead:
        """Takes the head's tensors out of those of a file."""
        return cls(num_spans, fill, tensors.pop(f"{_PREFIX}weight"), tensors.pop(f"{_PREFIX}bias"))

    def logits(self, rows: NDArray[Any], offsets: NDArray[Any], spans: NDArray[Any]) -> NDArray[np.float32]:
        """Computes logits, float32 [texts, labels].

        Args:
            rows: the encoder's rows of all texts, back to back, float32 [tokens, hidden].
            offsets: where each text begins, and the end of the last, [texts + 1].
            spans: token ranges [start, end) inside each text, [texts, num_spans, 2].

        Raises:
            ShapeError: ``spans`` is of another shape, or a range is empty or leaves its text.
        """
        texts = len(offsets) - 1
        if spans.shape != (texts, self.num_spans, 2):
            raise ShapeError(
                f"spans has shape {list(spans.shape)}, must have [{texts}, {self.num_spans}, 2]: a token range "
                "[start, end) for each span of each text"
            )
        logits = np.empty((texts, self.labels), np.float32)
        for text, ranges in enumerate(
            spans
        ):  # one product for each: a larger one would round by the batch's size
            own = rows[int(offsets[text]) : int(offsets[text + 1])]
            pooled = np.concatenate([self._largest(own, text, *pair) for pair in ranges.tolist()])
            logits[text] = self.weight @ pooled + self.bias
        return logits

    def _largest(self, rows: NDArray[Any], text: int, start: int, end: int) -> NDArray[Any]:
        if not 0 <= start < end <= len(rows):
            raise ShapeError(
                f"span [{start}, {end}) of text {text} is not a range of its {len(rows)} tokens: 0 <= start < end"
            )
        largest: NDArray[Any] = rows[start:end].max(0)
        if end - start < len(rows):  # tokens outside the span count as the fill
            largest = np.maximum(largest, np.float32(SPAN_FILLS[self.fill]))
        return largest
