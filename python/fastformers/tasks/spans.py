# SPDX-License-Identifier: MIT
"""Marked spans: from the words of WSC to characters. ``token_spans.py`` goes on to tokens."""

from __future__ import annotations

import re

from fastformers.token_spans import Span

__all__ = ["word_span"]


def word_span(text: str, first_word: int, phrase: str) -> Span | None:
    """Finds a phrase by the number of its first word, as WSC marks it: words are what stands between blanks.

    A few official rows mark a neighbour of the phrase's first word, write the phrase in another case, or add a full
    stop. So the occurrence of the phrase that is nearest to the marked word is taken, case ignored; where the phrase
    does not occur (it is made of parts that stand apart), the marked word and as many after it as the phrase has.

    Args:
        text: where the phrase lies.
        first_word: number of its first word, from 0.
        phrase: its words, not empty.

    Returns:
        Its characters [start, end), or ``None`` if the text has no such word.

    Example:
        >>> word_span("Mark told Pete lies.", 2, "Pete")
        (10, 14)
    """
    words = _words(text)
    if not 0 <= first_word < len(words):
        return None
    start = words[first_word][0]
    parts = phrase.rstrip(".").split() or phrase.split()
    pattern = r"\s+".join(re.escape(part) for part in parts)
    found = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)]
    if found:
        return min(found, key=lambda span: abs(span[0] - start))
    last_word = min(first_word + len(phrase.split()), len(words)) - 1
    return start, words[last_word][1]


def _words(text: str) -> list[Span]:
    """Characters of what stands between blanks, which is nothing between two of them."""
    words, start = [], 0
    for word in text.split(" "):
        words.append((start, start + len(word)))
        start += len(word) + 1
    return words
