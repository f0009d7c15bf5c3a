# SPDX-License-Identifier: MIT
"""Which layer of the teacher a layer of the student learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from fastformers.errors import ConfigError

__all__ = ["LayerMap", "LayerPairs", "layer_pairs"]

#: (student's layer, teacher's layer), both from 0.
LayerPairs: TypeAlias = tuple[tuple[int, int], ...]
LayerMap: TypeAlias = Literal["auto"] | Sequence[tuple[int, int]]


def layer_pairs(chosen: LayerMap, student_layers: int, teacher_layers: int) -> LayerPairs:
    """Returns the pairs of layers to compare.

    Args:
        chosen: ``"auto"``: every layer of the student, spread evenly over the teacher's, last to last; or the pairs.
        student_layers: how many there are, at least 1.
        teacher_layers: how many there are, at least 1; a student may be the deeper one.

    Raises:
        ConfigError: no pairs, a layer that does not exist, or a student's layer named twice.

    Example:
        >>> layer_pairs("auto", 4, 12)
        ((0, 2), (1, 5), (2, 8), (3, 11))
    """
    if min(student_layers, teacher_layers) < 1:
        raise ConfigError(f"a model without layers: student {student_layers}, teacher {teacher_layers}")
    if chosen == "auto":
        return tuple(
            (layer, -(-(layer + 1) * teacher_layers // student_layers) - 1) for layer in range(student_layers)
        )
    pairs = tuple((int(ours), int(theirs)) for ours, theirs in chosen)
    if not pairs:
        raise ConfigError("layer_map is empty: name (student layer, teacher layer), or 'auto'")
    for ours, theirs in pairs:
        if not (0 <= ours < student_layers and 0 <= theirs < teacher_layers):
            raise ConfigError(
                f"layer_map has ({ours}, {theirs}); the student has layers 0 to {student_layers - 1}, "
                f"the teacher 0 to {teacher_layers - 1}"
            )
    if len({ours for ours, _ in pairs}) != len(pairs):
        raise ConfigError(f"layer_map {list(pairs)} names a layer of the student twice")
    return pairs
