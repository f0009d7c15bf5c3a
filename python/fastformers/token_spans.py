# SPDX-License-Identifier: MIT
"""From marked characters to tokens, through a tokenizer's offset mapping: what training and serving share.

The published code decodes every prefix of a text to find where a span lies, and it goes wrong beside punctuation and
accents. A tokenizer's offset mapping says the same exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Span", "token_span"]

#: A half-open range [start, end).
Span = tuple[int, int]


def token_span(
    offsets: Sequence[Span], sequences: Sequence[int | None], sequence: int, span: Span
) -> Span | None:
    """Finds the tokens of a span of characters.

    Args:
        offsets: for each token its characters [start, end) in its own text.
        sequences: for each token the text it is of, ``None`` for special tokens.
        sequence: the text the span lies in.
        span: characters [start, end).

    Returns:
        Tokens [start, end): every token that shares a character with the span; ``None`` if none does.

    Example:
        >>> token_span([(0, 0), (0, 4), (5, 8), (0, 0)], [None, 0, 0, None], 0, (5, 8))
        (2, 3)
    """
    start, end = span
    inside = [
        index
        for index, ((first, last), text) in enumerate(zip(offsets, sequences, strict=True))
        if text == sequence and max(first, start) < min(last, end)
    ]
    return (inside[0], inside[-1] + 1) if inside else None
