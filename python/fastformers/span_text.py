# SPDX-License-Identifier: MIT
"""A text with marked spans: what a span classifier reads (do two words mean the same; does "he" mean "Mark")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastformers.errors import ShapeError
from fastformers.files.rows import Row
from fastformers.token_spans import Span

__all__ = ["SpanText", "marked_text"]


@dataclass(frozen=True)
class SpanText:
    """A text, or a pair of texts, with marked spans of characters.

    Attributes:
        text: the first text.
        spans: characters [start, end) of each span, in the model's order: WiC's two words, WSC's noun and pronoun.
        text_pair: the second text, if there is one.
        span_texts: for each span the text it lies in, 0 or 1; may be left out where there is one text.

    Raises:
        ShapeError: a span is empty or leaves its text, or it is not said which text it lies in.

    Example:
        >>> SpanText("Mark told Pete lies.", [(0, 4), (10, 14)]).span_texts
        (0, 0)
        >>> SpanText("He sat on the bank.", [(14, 18), (2, 6)], "A bank account.", (0, 1)).text_pair
        'A bank account.'
    """

    text: str
    spans: Sequence[Span]
    text_pair: str | None = None
    span_texts: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Checks every field; ``spans`` and ``span_texts`` may be given as any lists or tuples."""
        for name, value in (("text", self.text), ("text_pair", self.text_pair)):
            if not isinstance(value, str) and not (name == "text_pair" and value is None):
                raise ShapeError(f"{name} of a SpanText is {type(value).__name__}, must be a string")
        object.__setattr__(self, "spans", _spans(self.spans))
        object.__setattr__(self, "span_texts", _span_texts(self))
        for number, (text, span) in enumerate(self.marked):
            _check_span(number, span, self.text if text == 0 else self.text_pair or "")

    @property
    def marked(self) -> list[tuple[int, Span]]:
        """For each span the text it lies in, and its characters."""
        return list(zip(self.span_texts or (), self.spans, strict=True))


def marked_text(row: Row, span_texts: Sequence[int] | None = None) -> SpanText:
    """Reads a text with marked spans from a row of a file.

    Args:
        row: with ``text``, ``spans``, and for pairs ``text_pair``; ``span_texts`` if it says that itself.
        span_texts: for each span the text it lies in, where the row does not say it.

    Raises:
        FormatError: the spans do not fit their text; names the line.
    """
    values = row.values
    where = span_texts if values.get("span_texts") is None else values["span_texts"]
    try:
        return SpanText(values["text"], values["spans"], values.get("text_pair"), where)
    except ShapeError as error:
        raise row.error(str(error)) from error


def _spans(given: object) -> tuple[Span, ...]:
    if not isinstance(given, list | tuple) or not all(_is_span(span) for span in given):
        raise ShapeError(f"spans is {given!r}, must be a list of pairs (start, end) of characters")
    return tuple((start, end) for start, end in given)


def _is_span(given: object) -> bool:
    pair = given if isinstance(given, list | tuple) else ()
    return len(pair) == 2 and all(isinstance(end, int) for end in pair)


def _span_texts(text: SpanText) -> tuple[int, ...]:
    if text.span_texts is None and text.text_pair is None:
        return (0,) * len(text.spans)
    texts = tuple(text.span_texts or ())
    allowed = (0,) if text.text_pair is None else (0, 1)
    if len(texts) != len(text.spans) or not all(number in allowed for number in texts):
        raise ShapeError(
            f"span_texts is {text.span_texts!r}, must name the text of each of the {len(text.spans)} spans: "
            f"{' or '.join(map(str, allowed))}"
        )
    return texts


def _check_span(number: int, span: Span, text: str) -> None:
    start, end = span
    if not 0 <= start < end <= len(text):
        raise ShapeError(
            f"span {number}, [{start}, {end}), is not a range of its text of {len(text)} characters: "
            "0 <= start < end"
        )
