# SPDX-License-Identifier: MIT
"""Token types of a teacher that runs on its student's batches: same tokens need not come with the same types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fastformers.tasks import EncodedExamples

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TokenTypes"]

_NAME = "token_type_ids"


@dataclass(frozen=True)
class TokenTypes:
    """What a teacher reads instead of the types of the student's batch.

    Attributes:
        differ: whether it reads others at all; where not, batches stay as they are.
        of_examples: the teacher's types of each example, by index; empty where its tokenizer gives none.
    """

    differ: bool = False
    of_examples: tuple[list[int], ...] = ()

    @classmethod
    def of(cls, train: EncodedExamples, teacher_train: EncodedExamples | None) -> TokenTypes:
        """Compares the two tokenisations of the same examples, whose tokens are the same ones."""
        if teacher_train is None:
            return cls()
        ours, theirs = ([feature.get(_NAME) for feature in each] for each in (train, teacher_train))
        return cls(ours != theirs, tuple(types for types in theirs if types is not None))

    def put_into(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Returns the batch as the teacher reads it.

        Args:
            batch: of the collator: ``input_ids`` and ``attention_mask``, int64 of shape [batch, tokens], and
                ``example``, int64 of shape [batch].
        """
        if not self.differ:
            return batch
        others = {name: tensor for name, tensor in batch.items() if name != _NAME}
        if not self.of_examples:
            return others
        rows = [self.of_examples[index] for index in batch["example"].tolist()]
        types = torch.zeros_like(batch["input_ids"])
        types[batch["attention_mask"].bool()] = types.new_tensor([value for row in rows for value in row])
        return {**others, _NAME: types}
