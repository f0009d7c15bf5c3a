# SPDX-License-Identifier: MIT
"""Batches of training: of similar length, shuffled anew in each epoch, each example with its index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fastformers.config import TrainConfig
from fastformers.tasks import Collator, EncodedExamples, length_batches

__all__ = ["EpochBatches", "training_batches"]


class EpochBatches(Sampler[list[int]]):
    """Indices of each batch of an epoch; the order depends on nothing but the seed and the epoch.

    Args:
        lengths: tokens of each example.
        batch_size: examples of a batch.
        seed: of the first epoch; each later one adds 1.

    Attributes:
        epoch: whose batches are given next, from 0.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.epoch = 0
        self.batch_size = batch_size
        self._lengths = lengths
        self._seed = seed

    def __len__(self) -> int:
        return -(-len(self._lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        yield from length_batches(self._lengths, self.batch_size, self._seed + self.epoch)


class _Numbered(Dataset[dict[str, Any]]):
    def __init__(self, encoded: EncodedExamples) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._encoded[index], "example": index}


class _NumberedCollator:
    def __init__(self, collator: Collator) -> None:
        self._collator = collator

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        examples = torch.tensor([feature["example"] for feature in features])
        return {**self._collator(features), "example": examples}


def training_batches(encoded: EncodedExamples, config: TrainConfig) -> DataLoader[dict[str, Any]]:
    """Returns a loader of batches; its ``batch_sampler`` is an :class:`EpochBatches`."""
    return DataLoader(
        _Numbered(encoded),
        batch_sampler=EpochBatches(encoded.lengths, config.batch_size, config.seed),
        collate_fn=_NumberedCollator(Collator(encoded.tokenizer, config.fixed_length)),
        generator=torch.Generator(),  # its own, so that opening an epoch leaves the random state of dropout alone
    )
