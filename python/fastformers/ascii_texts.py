# SPDX-License-Identifier: MIT
"""A second form of a tokenizer for texts of plain ASCII, without its normalizer.

A normalizer cleans, lower-cases and decomposes character by character and notes where each came from: a third of
the time that a tokenizer takes. What it makes of ASCII is known beforehand, and Python's own strings do it in a
microsecond: the last row of `fastformers ladder --preset table3` answers 5 % more texts per second. Ids, types and cuts
are the same; character offsets are not, so texts with marked spans do not go this way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

__all__ = ["AsciiTokenizer"]

_Step = Callable[[str], str]

# Each text is searched for every added token; some vocabularies have hundreds of them.
_MOST_ADDED_TOKENS = 16

_BLANKS = "\t\n\r"
_CLEANED = {code: " " if chr(code) in _BLANKS else None for code in (*range(32), 127)}


def _clean(text: str) -> str:
    """Takes out control characters and makes blanks of tabs and line ends, as BERT's normalizer does."""
    return text if text.isprintable() else text.translate(_CLEANED)


def _bert(normalizer: dict[str, Any]) -> list[_Step]:
    """Chinese characters and accents, its other two concerns, are not ASCII."""
    wanted: list[tuple[str, _Step]] = [("clean_text", _clean), ("lowercase", str.lower)]
    return [step for name, step in wanted if normalizer[name]]


# What a normalizer does to ASCII. One that is not in the table keeps its tokenizer on the general way.
_ON_ASCII: dict[str, Callable[[dict[str, Any]], list[_Step]]] = {
    "BertNormalizer": _bert,
    "Lowercase": lambda _: [str.lower],
    "NFC": lambda _: [],
    "NFD": lambda _: [],
    "NFKC": lambda _: [],
    "NFKD": lambda _: [],
    "StripAccents": lambda _: [],
}


def _steps(normalizer: dict[str, Any]) -> list[_Step] | None:
    """The string methods that stand for a normalizer; ``None`` where there are none."""
    if normalizer["type"] == "Sequence":
        parts = [_steps(part) for part in normalizer["normalizers"]]
        return None if None in parts else [step for part in parts if part for step in part]
    made = _ON_ASCII.get(normalizer["type"])
    return None if made is None else made(normalizer)


@dataclass(frozen=True)
class AsciiTokenizer:
    """A tokenizer without its normalizer, and what is done to a text instead.

    Attributes:
        tokenizer: shares its vocabulary with the one it was made of; knows no added tokens.
        steps: applied to a text in this order.
        added: added tokens as they look after the steps; a text that holds one is not taken.
    """

    tokenizer: Tokenizer
    steps: Sequence[_Step]
    added: Sequence[str]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> AsciiTokenizer | None:
        """Makes one of a tokenizer as it is set up now (its truncation is taken over).

        Returns:
            ``None`` when there is nothing to gain or it is not known to be the same: no normalizer, one that is not in
            the table above, or many or unprintable added tokens.
        """
        if tokenizer.normalizer is None or tokenizer.padding is not None:
            return None
        steps = _steps(json.loads(tokenizer.normalizer.__getstate__()))
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        searchable = all(content.isascii() and content.isprintable() for content in added)
        if steps is None or len(added) > _MOST_ADDED_TOKENS or not searchable:
            return None
        plain = Tokenizer(tokenizer.model)  # one vocabulary in memory
        if tokenizer.pre_tokenizer is not None:
            plain.pre_tokenizer = tokenizer.pre_tokenizer
        if tokenizer.post_processor is not None:
            plain.post_processor = tokenizer.post_processor
        if tokenizer.truncation is not None:
            plain.enable_truncation(**tokenizer.truncation)
        return cls(plain, steps, [_after(steps, content) for content in added])

    def normalized(self, text: str) -> str | None:
        """The text as :attr:`tokenizer` takes it; ``None`` when it must go the general way."""
        if not text.isascii():
            return None
        text = _after(self.steps, text)
        return None if any(content in text for content in self.added) else text


def _after(steps: Sequence[_Step], text: str) -> str:
    for step in steps:
        text = step(text)
    return text
