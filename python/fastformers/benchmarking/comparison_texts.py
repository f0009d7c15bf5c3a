# SPDX-License-Identifier: MIT
"""Makes the batches of a comparison out of texts: single texts of exact lengths, and some texts as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastformers.errors import ConfigError

__all__ = ["TextBatch", "single_label", "text_batches"]

_LONGEST_TOGETHER = 128


@dataclass(frozen=True)
class TextBatch:
    """Token ids of one batch.

    Attributes:
        label: how tables call it, e.g. ``"1 x 128"`` or ``"8 mixed"``.
        sequences: ids of each text, with the special tokens.
    """

    label: str
    sequences: list[list[int]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(sequence) for sequence in self.sequences]


def single_label(length: int) -> str:
    """Names the batch of a single text of so many tokens."""
    return f"1 x {length}"


def text_batches(
    tokenizer: Any, longest: int, texts: Sequence[str], lengths: Sequence[int], together: int
) -> list[TextBatch]:
    """Makes the batches of one model.

    Args:
        tokenizer: a transformers tokenizer.
        longest: tokens that the model takes.
        texts: used in their order; joined where one is not long enough.
        lengths: tokens of the single texts; those beyond what model and tokenizer take are left out.
        together: texts of the mixed batch, cut at 128 tokens; 0 for none.

    Raises:
        ConfigError: all texts together are shorter than a length, or no batch is left.
    """
    limit = min(tokenizer.model_max_length, longest)
    joined = " ".join(texts)
    batches = []
    for length in lengths:
        if length > limit:
            continue
        ids = tokenizer(joined, truncation=True, max_length=length)["input_ids"]
        if len(ids) < length:
            raise ConfigError(f"length {length}: all texts together have {len(ids)} tokens; give more text")
        batches.append(TextBatch(single_label(length), [list(ids)]))
    if together:
        chosen = [texts[number % len(texts)] for number in range(together)]
        ids = tokenizer(chosen, truncation=True, max_length=min(limit, _LONGEST_TOGETHER))["input_ids"]
        batches.append(TextBatch(f"{together} mixed", [list(sequence) for sequence in ids]))
    if not batches:
        raise ConfigError(f"no batch is left: at most {limit} tokens fit")
    return batches
