# SPDX-License-Identifier: MIT
"""Batches of texts of similar length, each padded to its own longest text and no further.

Padding every text to one length costs the paper's baseline a factor of 3.5 (its "dynamic sequence length"); here it is
what :class:`Collator` does only when asked. Sorting by length before cutting batches removes most of what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastformers.errors import ConfigError, ShapeError

__all__ = ["Collator", "length_batches"]

#: Batches that are sorted by length together in training, at most: enough for little padding.
_BATCHES_TOGETHER = 50
#: Such blocks in an epoch, at least. Sorted as one, a small set has the same batches in every epoch: of CB's 250 texts
#: in batches of 16, 92 % of a text's companions were so again in the next one, in four blocks 18 % (BoolQ 17, 13 %).
_LEAST_BLOCKS = 4


class Collator:
    """Makes a batch of tensors from features.

    Args:
        tokenizer: gives the ids of padding.
        fixed_length: pad every batch to this many tokens (the paper's baseline); ``None`` pads to the batch's longest.

    Raises:
        ConfigError: the tokenizer has no padding token.

    Example:
        >>> batch = Collator(tokenizer)([encoded[0], encoded[1]])  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Any, fixed_length: int | None = None) -> None:
        if tokenizer.pad_token_id is None:
            raise ConfigError(
                f"{type(tokenizer).__name__} has no padding token: set tokenizer.pad_token first"
            )
        self._padding = {
            "input_ids": int(tokenizer.pad_token_id),
            "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0)),
        }
        self._fixed_length = fixed_length

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Returns int64 tensors of shape [batch, length], padded on the right.

        Args:
            features: of :class:`fastformers.tasks.EncodedExamples`; at least one.

        Returns:
            ``input_ids``, ``attention_mask`` (1 for text), ``token_type_ids`` if given, ``spans`` of shape
            [batch, spans, 2] if given, ``labels`` of shape [batch] if all features have one: int64, or float32 for
            numbers to predict.

        Raises:
            ShapeError: a feature is longer than the fixed length.
        """
        lengths = [len(feature["input_ids"]) for feature in features]
        length = max(lengths) if self._fixed_length is None else self._fixed_length
        if max(lengths) > length:
            raise ShapeError(f"a text of {max(lengths)} tokens does not fit into the fixed length {length}")
        batch = {
            name: torch.tensor(
                [feature[name] + [pad] * (length - len(feature[name])) for feature in features]
            )
            for name, pad in self._padding.items()
            if name in features[0]
        }
        batch["attention_mask"] = (torch.arange(length) < torch.tensor(lengths)[:, None]).long()
        if "spans" in features[0]:
            batch["spans"] = torch.tensor([feature["spans"] for feature in features])
        if all("labels" in feature for feature in features):
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch


def length_batches(lengths: Sequence[int], batch_size: int, seed: int | None = None) -> list[list[int]]:
    """Cuts examples into batches of similar length.

    Args:
        lengths: tokens of each example.
        batch_size: examples of a batch; the last one may have fewer.
        seed: shuffle for training: examples are dealt at random into blocks of at most 50 batches, at least four
            blocks where there are as many batches, sorted within a block, and the batches shuffled. The same seed
            gives the same batches. ``None``: longest first, for evaluation.

    Returns:
        Indices, each exactly once.

    Raises:
        ConfigError: ``batch_size`` is less than 1.

    Example:
        >>> length_batches([3, 9, 5], 2)
        [[1, 2], [0]]
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}, must be at least 1")
    if seed is None:
        return _cut(sorted(range(len(lengths)), key=lambda index: -lengths[index]), batch_size)
    generator = np.random.default_rng(seed)
    order: list[int] = generator.permutation(len(lengths)).tolist()
    batches = []
    together = min(_BATCHES_TOGETHER, max(1, -(-len(order) // batch_size) // _LEAST_BLOCKS))
    for block in _cut(order, batch_size * together):
        batches += _cut(sorted(block, key=lambda index: -lengths[index]), batch_size)
    return [batches[index] for index in generator.permutation(len(batches))]


def _cut(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
