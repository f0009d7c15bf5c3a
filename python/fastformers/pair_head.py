# SPDX-License-Identifier: MIT
"""The head of a compiled pair classifier, in NumPy: the cosine of both texts' mean rows, one linear layer.

It stands beside the encoder plan, as :mod:`fastformers.span_head` does: what it computes is an addition for each number
of the encoder's last layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PairHead"]

_PREFIX = "pair_head."


@dataclass(frozen=True)
class PairHead:
    """The head with its weights.

    Attributes:
        separator_id: the token that ends each text.
        first_id: the special token before the first text.
        weight: float32 [labels, 1].
        bias: float32 [labels].
    """

    separator_id: int
    first_id: int
    weight: NDArray[Any]
    bias: NDArray[Any]

    #: Marked spans of a text, which it does not read.
    num_spans = 0

    @property
    def labels(self) -> int:
        """Width of the logits."""
        return int(self.weight.shape[0])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the weights by the names they have in a file."""
        return {f"{_PREFIX}weight": self.weight, f"{_PREFIX}bias": self.bias}

    @staticmethod
    def shapes(labels: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of :meth:`tensors`."""
        return {f"{_PREFIX}weight": (labels, 1), f"{_PREFIX}bias": (labels,)}

    @classmethod
    def taken_from(cls, tensors: dict[str, NDArray[Any]], separator_id: int, first_id: int) -> PairHead:
        """Takes the head's tensors out of those of a file."""
        return cls(separator_id, first_id, tensors.pop(f"{_PREFIX}weight"), tensors.pop(f"{_PREFIX}bias"))

    def logits(self, rows: NDArray[Any], offsets: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.float32]:
        """Computes logits, float32 [texts, labels]; a text without a second one has the cosine 0.

        Args:
            rows: the encoder's rows of all texts, back to back, float32 [tokens, hidden].
            offsets: where each text begins, and the end of the last, [texts + 1].
            ids: of all tokens, [tokens].
        """
        cosines = np.empty(len(offsets) - 1, np.float32)
        for text, (start, end) in enumerate(pairwise(offsets.tolist())):
            cosines[text] = self._cosine(rows[start:end], ids[start:end])
        logits: NDArray[np.float32] = cosines[:, None] * self.weight[:, 0] + self.bias
        return logits

    def _cosine(self, rows: NDArray[Any], ids: NDArray[Any]) -> float:
        ends = ids == self.separator_id
        text = ~ends & (ids != self.first_id)
        is_first = ends.cumsum() == 0
        parts = [rows[text & part] for part in (is_first, ~is_first)]
        if not all(map(len, parts)):
            return 0.0
        first, second = (part.mean(0) for part in parts)
        lengths = np.linalg.norm(first) * np.linalg.norm(second)
        return float(first @ second / lengths) if lengths else 0.0
