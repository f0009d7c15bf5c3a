# SPDX-License-Identifier: MIT
"""One batch of token sequences in the forms that engines take: padded with a mask, or ragged with offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Floats", "Ids", "cosine"]

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]

_PADDED_DIMENSIONS = 3


@dataclass(frozen=True)
class Batch:
    """Token ids of some sequences, each of at least one token.

    Attributes:
        sequences: int64 [length] each.

    Example:
        >>> batch = Batch.of([[1, 2, 3], [4]])
        >>> batch.padded(0)[0].tolist(), batch.tokens
        ([[1, 2, 3], [4, 0, 0]], 4)
    """

    sequences: tuple[Ids, ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Batch:
        """Makes a batch of lists of ids.

        Raises:
            ValueError: no sequence, or an empty one.
        """
        if not sequences or not all(len(sequence) > 0 for sequence in sequences):
            raise ValueError("a batch needs at least one sequence, and each at least one token")
        return cls(tuple(np.asarray(sequence, np.int64) for sequence in sequences))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [len(sequence) for sequence in self.sequences]

    @property
    def tokens(self) -> int:
        """Tokens of all sequences together."""
        return sum(self.lengths)

    @property
    def is_ragged(self) -> bool:
        """Whether the lengths differ, so that a rectangle of ids needs padding."""
        return len(set(self.lengths)) > 1

    def padded(self, padding_id: int) -> tuple[Ids, Ids]:
        """Returns ids and mask, both int64 [sequences, longest], padded on the right."""
        shape = len(self.sequences), max(self.lengths)
        ids, mask = np.full(shape, padding_id, np.int64), np.zeros(shape, np.int64)
        for row, sequence in enumerate(self.sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        return ids, mask

    def ragged(self) -> tuple[NDArray[np.int32], Ids]:
        """Returns ids int32 [tokens], sequences back to back, and offsets int64 [sequences + 1]."""
        return np.concatenate(self.sequences).astype(np.int32), np.cumsum([0, *self.lengths], dtype=np.int64)

    def without_padding(self, answers: Floats) -> Floats:
        """Drops the rows that belong to padding.

        Args:
            answers: float32 [sequences, features]; or [sequences, longest, features], a row for every token; or
                [tokens, features], which has no padding.

        Returns:
            float32 [sequences, features], or [tokens, features] with the sequences back to back.
        """
        if answers.ndim < _PADDED_DIMENSIONS:
            return answers
        rows = [answers[row, :length] for row, length in enumerate(self.lengths)]
        return np.ascontiguousarray(np.concatenate(rows))


def cosine(left: Floats, right: Floats) -> float:
    """Cosine of the angle between two arrays taken as vectors, computed in float64.

    Raises:
        ValueError: the shapes differ.
    """
    if left.shape != right.shape:
        raise ValueError(f"shapes {left.shape} and {right.shape} differ")
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
