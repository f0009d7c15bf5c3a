# SPDX-License-Identifier: MIT
"""Texts to token ids, through the ``tokenizers`` package alone: truncated as the tokenizer says, never padded."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from fastformers.ascii_texts import AsciiTokenizer
from fastformers.errors import ConfigError, ShapeError
from fastformers.span_text import SpanText
from fastformers.token_spans import token_span

__all__ = [
    "SPLIT_SPECIAL_TOKENS",
    "RaggedBatch",
    "Text",
    "TextEncoder",
    "TokenizedText",
    "TruncationWarning",
    "check_list",
    "split_ragged",
    "splits_special_tokens",
]

#: What transformers calls it, in ``tokenizer_config.json`` too, that special tokens in texts are text;
#: ``tokenizer.json`` has no place for it.
SPLIT_SPECIAL_TOKENS = "split_special_tokens"

#: One text, a pair of them (question and passage, query and document), or one with marked spans.
Text: TypeAlias = "str | tuple[str, str] | SpanText"


class TruncationWarning(UserWarning):
    """A text had more tokens than the model takes and was cut; told once for each engine."""


@dataclass(frozen=True)
class TokenizedText:
    """One text's (or pair's) tokens.

    Attributes:
        ids: int32 [tokens].
        types: int32 [tokens]: 0 for the first text, 1 for the second where the tokenizer tells them apart.
        spans: of a text with marked spans, int64 [spans, 2]: tokens [start, end).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    spans: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RaggedBatch:
    """Token sequences back to back, as the native encoder takes them.

    Attributes:
        ids: int32 [T].
        types: int32 [T].
        offsets: int64 [sequences + 1], from 0 to T.
        spans: of texts with marked spans, int64 [sequences, spans, 2]: tokens [start, end) of each text.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    offsets: NDArray[np.int64]
    spans: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, texts: Sequence[TokenizedText]) -> RaggedBatch:
        """Concatenates at least one text; all of them, or none, have spans, and as many."""
        marked = [text.spans for text in texts if text.spans is not None]
        spans = np.stack(marked) if marked else None
        if len(texts) == 1:
            return cls(texts[0].ids, texts[0].types, np.array([0, len(texts[0])], np.int64), spans)
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        ids = np.concatenate([text.ids for text in texts])
        return cls(ids, np.concatenate([text.types for text in texts]), offsets, spans)

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return len(self.offsets) - 1


def check_list(texts: Sequence[Text]) -> None:
    """Refuses what is no list of texts: each character of one string would be taken for a text.

    Raises:
        ShapeError: it is one string; or no sequence, as an array, a generator or a column of a table.
    """
    if isinstance(texts, str):
        raise ShapeError("texts is one string, expected a list of them: pass [text]")
    if not isinstance(texts, Sequence):
        raise ShapeError(f"texts is {type(texts).__name__}, expected a list: pass list(texts)")


def splits_special_tokens(tokenizer: Any) -> bool:
    """Whether what looks like a special token in a text is text.

    Args:
        tokenizer: of transformers or tokenizers, or the content of a ``tokenizer_config.json``.
    """
    if isinstance(tokenizer, Mapping):
        return tokenizer.get(SPLIT_SPECIAL_TOKENS) is True
    return bool(getattr(tokenizer, SPLIT_SPECIAL_TOKENS, getattr(tokenizer, "encode_special_tokens", False)))


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
            it has none), and whether special tokens in texts are text; its padding is dropped: a ragged batch has none.
        max_length: tokens, special ones included, after which a text or pair is cut.
        num_spans: marked spans of a text; 0 for texts without.
        only_pairs: refuse single texts: the model compares both of a pair.
        side: ``"left"`` or ``"right"``, the side that is cut (transformers' ``truncation_side``); ``None`` for what
            ``tokenizer`` itself says, which transformers sets only in a call.

    Raises:
        ConfigError: ``max_length`` leaves no room for the tokenizer's special tokens.

    Safe from many threads at once.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        num_spans: int = 0,
        side: str | None = None,
        *,
        only_pairs: bool = False,
    ) -> None:
        self._tokenizer = _copy(tokenizer)
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
            direction=side or own.get("direction", "right"),
        )
        self._ascii = None if num_spans else AsciiTokenizer.of(self._tokenizer)
        self._max_length = max_length
        self._num_spans = num_spans
        self._only_pairs = only_pairs
        self._whole = _without_truncation(self._tokenizer) if num_spans else None
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
            ShapeError: ``texts`` is one string or no sequence; an entry is neither a string nor a pair of strings (or
                no :class:`SpanText` where spans are read, or a string where only pairs are), is not Unicode, has no
                token at all (an empty text under a tokenizer without special tokens), loses a token of a span when it
                is cut, or cannot be cut as the tokenizer says (``only_second`` of a pair whose first text alone is too
                long).
        """
        check_list(texts)
        for index, text in enumerate(texts):
            _check_text(text, index, self._num_spans, self._only_pairs)
        try:
            encodings = self._encodings(texts)
        except TypeError:
            _refuse_surrogates(texts)
            raise
        except Exception as error:
            if type(error) is not Exception:  # tokenizers raises no class of its own
                raise
            self._refuse_like(error, texts)
            raise
        for index, encoding in enumerate(encodings):
            if not encoding.ids:
                raise ShapeError(
                    f"text {index}, {texts[index]!r}, has no tokens, and this tokenizer adds no special ones"
                )
        tokenized = [
            TokenizedText(
                np.array(e.ids, np.int32), np.array(e.type_ids, np.int32), self._spans(text, e, index)
            )
            for index, (text, e) in enumerate(zip(texts, encodings, strict=True))
        ]
        self._warn_of_truncation(encodings)
        return tokenized

    def _encodings(self, texts: Sequence[Text]) -> list[Encoding]:
        if self._num_spans:  # character offsets are needed
            return list(self._tokenizer.encode_batch([_plain(text) for text in texts]))
        if self._ascii is None:
            return list(_encode_fast(self._tokenizer, texts))
        as_ascii = [_as_ascii(self._ascii, text) for text in texts]
        plain = iter(_encode_fast(self._ascii.tokenizer, [text for text in as_ascii if text is not None]))
        others = [text for text, taken in zip(texts, as_ascii, strict=True) if taken is None]
        general = iter(_encode_fast(self._tokenizer, others))
        return [next(general) if taken is None else next(plain) for taken in as_ascii]

    def _refuse_like(self, error: Exception, texts: Sequence[Text]) -> None:
        """Names the text that tokenizers refuses: its error says why, and not which."""
        for index, text in enumerate(texts):
            try:
                self._encodings([text])
            except Exception as own:
                strategy = (self._tokenizer.truncation or {}).get("strategy")
                way_out = (
                    f". It is to be cut to {self._max_length} tokens by {strategy!r}, as the tokenizer was saved: "
                    "shorten it, or save the model with a tokenizer that cuts 'longest_first'"
                )
                raise ShapeError(
                    f"text {index} is refused by the tokenizer: {own}{way_out if 'Truncation' in str(own) else ''}"
                ) from error

    def _spans(self, text: Text, encoding: Encoding, index: int) -> NDArray[np.int64] | None:
        """Tokens of each marked span, [spans, 2]."""
        if not isinstance(text, SpanText) or self._whole is None:
            return None
        found = _token_spans(text, encoding)
        if encoding.overflowing:
            whole = _token_spans(text, _encode(self._whole, text))
            if [end - start for start, end in found] != [end - start for start, end in whole]:
                raise ShapeError(
                    f"text {index} loses a marked span when it is cut to {self._max_length} tokens: shorten it"
                )
        for span, (start, end) in zip(text.spans, found, strict=True):
            if start == end:
                raise ShapeError(
                    f"text {index}: the tokenizer gives no token for the span {list(span)}; its characters are "
                    "unknown to it"
                )
        return np.array(found, np.int64)

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


def _refuse_surrogates(texts: Sequence[Text]) -> None:
    """Names the text that tokenizers cannot take for Unicode, which its own error does not."""
    for index, text in enumerate(texts):
        plain = _plain(text)
        for part in (plain,) if isinstance(plain, str) else plain:
            try:
                part.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ShapeError(
                    f"text {index} is not Unicode: character {error.start} is {part[error.start]!r}, half of a pair. "
                    'Replace such halves: text.encode("utf-8", "replace").decode()'
                ) from None


def _levels_to_caller() -> int:
    """How far up the stack, from the caller's view, the code lies that called this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fastformers."):
        level, frame = level + 1, frame.f_back
    return level


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    copied = Tokenizer.from_str(tokenizer.to_str())
    copied.encode_special_tokens = tokenizer.encode_special_tokens  # not in its JSON
    return copied


def _without_truncation(tokenizer: Tokenizer) -> Tokenizer:
    whole = _copy(tokenizer)
    whole.no_truncation()
    return whole


def _plain(text: Text) -> str | tuple[str, str]:
    """The strings without their spans."""
    if not isinstance(text, SpanText):
        return text
    return text.text if text.text_pair is None else (text.text, text.text_pair)


def _as_ascii(ascii_way: AsciiTokenizer, text: Text) -> str | tuple[str, str] | None:
    """The text as the tokenizer for ASCII takes it; ``None`` when it must go the general way."""
    if isinstance(text, SpanText):
        return None
    if isinstance(text, str):
        return ascii_way.normalized(text)
    first, second = (ascii_way.normalized(part) for part in text)
    return None if first is None or second is None else (first, second)


def _encode_fast(tokenizer: Tokenizer, texts: Sequence[Text]) -> Sequence[Encoding]:
    """Encodings without character offsets; older releases of tokenizers work them out all the same."""
    return getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)(list(texts)) if texts else []


def _encode(tokenizer: Tokenizer, text: Text) -> Encoding:
    strings = _plain(text)
    return tokenizer.encode(*strings) if isinstance(strings, tuple) else tokenizer.encode(strings)


def _token_spans(text: SpanText, encoding: Encoding) -> list[tuple[int, int]]:
    """Tokens [start, end) of each span; (0, 0) where it has none."""
    offsets, sequences = encoding.offsets, encoding.sequence_ids
    return [token_span(offsets, sequences, *marked) or (0, 0) for marked in text.marked]


def _check_text(text: object, index: int, num_spans: int, only_pairs: bool) -> None:
    if only_pairs and isinstance(text, str):
        raise ShapeError(
            f"text {index} is a single string, and the model compares the two texts of a pair: pass a tuple of two"
        )
    if num_spans:
        spans = len(text.spans) if isinstance(text, SpanText) else None
        if spans != num_spans:
            found = f"{spans} spans" if isinstance(text, SpanText) else f"a {type(text).__name__}"
            raise ShapeError(
                f"text {index} is {found}, and the model reads {num_spans} marked spans of each text: "
                "pass fastformers.SpanText(text, spans)"
            )
        return
    if isinstance(text, SpanText):
        raise ShapeError(f"text {index} is a SpanText, and the model reads no spans: pass the text itself")
    parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
    if not all(isinstance(part, str) for part in parts):
        raise ShapeError(
            f"text {index} is {type(text).__name__}, expected a string or a pair (tuple) of two strings"
        )
