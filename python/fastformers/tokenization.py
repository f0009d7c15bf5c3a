# SPDX-License-Identifier: MIT
"""Texts to token ids, through the ``tokenizers`` package alone: truncated as the tokenizer says, never padded."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from fastformers.errors import ConfigError, ShapeError

__all__ = ["RaggedBatch", "Text", "TextEncoder", "TokenizedText", "TruncationWarning", "split_ragged"]

#: One text, or a pair of them (question and passage, premise and hypothesis, query and document).
Text: TypeAlias = "str | tuple[str, str]"


class TruncationWarning(UserWarning):
    """A text had more tokens than the model takes and was cut; told once for each engine."""


@dataclass(frozen=True)
class TokenizedText:
    """One text's (or pair's) tokens.

    Attributes:
        ids: int32 [tokens].
        types: int32 [tokens]: 0 for the first text, 1 for the second where the tokenizer tells them apart.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RaggedBatch:
    """Token sequences back to back, as the native encoder takes them.

    Attributes:
        ids: int32 [T].
        types: int32 [T].
        offsets: int64 [sequences + 1], from 0 to T.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[TokenizedText]) -> RaggedBatch:
        """Concatenates at least one text."""
        if len(texts) == 1:
            return cls(texts[0].ids, texts[0].types, np.array([0, len(texts[0])], np.int64))
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        ids = np.concatenate([text.ids for text in texts])
        return cls(ids, np.concatenate([text.types for text in texts]), offsets)

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return len(self.offsets) - 1


def split_ragged(texts: Sequence[TokenizedText], most_tokens: int) -> Iterator[RaggedBatch]:
    """Yields the texts, in order, in batches of at most ``most_tokens`` tokens (a longer text alone)."""
    group: list[TokenizedText] = []
    tokens = 0
    for text in texts:
        if group and tokens + len(text) > most_tokens:
            yield RaggedBatch.of(group)
            group, tokens = [], 0
        group.append(text)
        tokens += len(text)
    if group:
        yield RaggedBatch.of(group)


class TextEncoder:
    """A tokenizer set up for one model: truncation at ``max_length`` in the tokenizer's own way, no padding.

    Args:
        tokenizer: copied; strategy and direction of its truncation are kept (``longest_first`` from the right when
            it has none), its padding is dropped: a ragged batch has none.
        max_length: tokens, special ones included, after which a text or pair is cut.

    Raises:
        ConfigError: ``max_length`` leaves no room for the tokenizer's special tokens.

    Safe from many threads at once.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        special = self._tokenizer.num_special_tokens_to_add(True)
        if max_length < max(1, special):
            raise ConfigError(
                f"max_length is {max_length}; allowed: at least {max(1, special)}, the tokenizer's special tokens"
            )
        own: dict[str, Any] = self._tokenizer.truncation or {}
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(
            max_length,
            strategy=own.get("strategy", "longest_first"),
            direction=own.get("direction", "right"),
        )
        # The fast variant leaves out character offsets; older releases of tokenizers do not have it.
        self._encode_batch = getattr(self._tokenizer, "encode_batch_fast", self._tokenizer.encode_batch)
        self._max_length = max_length
        self._told = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer as set up here."""
        return self._tokenizer

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut."""
        return self._max_length

    def encode(self, texts: Sequence[Text]) -> list[TokenizedText]:
        """Tokenizes texts and pairs.

        Raises:
            ShapeError: an entry is neither a string nor a pair of strings, or has no token at all (an empty text
                under a tokenizer without special tokens).
        """
        for index, text in enumerate(texts):
            _check_text(text, index)
        encodings = self._encodings(texts)
        self._warn_of_truncation(encodings)
        for index, encoding in enumerate(encodings):
            if not encoding.ids:
                raise ShapeError(
                    f"text {index}, {texts[index]!r}, has no tokens, and this tokenizer adds no special ones"
                )
        return [TokenizedText(np.array(e.ids, np.int32), np.array(e.type_ids, np.int32)) for e in encodings]

    def _encodings(self, texts: Sequence[Text]) -> list[Encoding]:
        if len(texts) == 1:  # without the batch's detour through the tokenizer's thread pool
            text = texts[0]
            return [
                self._tokenizer.encode(*text) if isinstance(text, tuple) else self._tokenizer.encode(text)
            ]
        return list(self._encode_batch(list(texts)))

    def _warn_of_truncation(self, encodings: Sequence[Encoding]) -> None:
        if self._told or not any(encoding.overflowing for encoding in encodings):
            return
        self._told = True
        warnings.warn(
            f"a text of more than {self._max_length} tokens was cut to that length, and so will be later ones "
            "(this is told once for each engine)",
            TruncationWarning,
            stacklevel=_levels_to_caller(),
        )


def _levels_to_caller() -> int:
    """How far up the stack, from the caller's view, the code lies that called this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fastformers."):
        level, frame = level + 1, frame.f_back
    return level


def _check_text(text: object, index: int) -> None:
    parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
    if not all(isinstance(part, str) for part in parts):
        raise ShapeError(
            f"text {index} is {type(text).__name__}, expected a string or a pair (tuple) of two strings"
        )
