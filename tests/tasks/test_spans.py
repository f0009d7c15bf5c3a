# SPDX-License-Identifier: MIT
"""Spans from words to characters, and from characters to tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastformers.errors import ConfigError
from fastformers.tasks import Example, encode, get_task
from fastformers.tasks.spans import word_span
from fastformers.token_spans import token_span


@pytest.mark.parametrize(
    ("text", "word", "phrase", "found"),
    [
        ("Mark told Pete lies.", 0, "Mark", "Mark"),
        ("Mark told Pete lies.", 2, "Pete lies.", "Pete lies"),
        ("it is what it is", 3, "it", "it"),
        ("He saw  the  man", 4, "man", "man"),  # between two blanks lies an empty word
        ("use it now", 0, "it", "it"),  # the mark is one word off
        ("the tape broke", 0, "The tape.", "the tape"),
        ("a willow\nwrestles well", 1, "willow wrestles", "willow\nwrestles"),
        ("Kamenev, Stalin's old friend", 0, "Stalin and Kamenev", "Kamenev, Stalin's old"),
        ("end of it", 2, "it was so", "it"),
    ],
)
def test_a_phrase_is_found_near_its_marked_word(text: str, word: int, phrase: str, found: str) -> None:
    span = word_span(text, word, phrase)
    assert span is not None
    assert text[slice(*span)] == found


def test_the_nearest_of_several_occurrences_is_taken() -> None:
    text = "it fell and it broke and it stayed"
    assert [word_span(text, word, "it") for word in (0, 3, 6)] == [(0, 2), (12, 14), (25, 27)]


def test_a_part_of_a_word_is_no_occurrence() -> None:
    assert word_span("the theory of the", 1, "the") == (0, 3)


@pytest.mark.parametrize("word", [-1, 2])
def test_a_word_that_is_not_there_is_none(word: int) -> None:
    assert word_span("two words", word, "words") is None


def test_tokens_are_those_that_share_a_character() -> None:
    offsets = [(0, 0), (0, 3), (3, 5), (6, 9), (0, 0), (0, 4), (0, 0)]
    texts = [None, 0, 0, 0, None, 1, None]
    assert token_span(offsets, texts, 0, (0, 5)) == (1, 3)
    assert token_span(offsets, texts, 0, (4, 7)) == (2, 4)
    assert token_span(offsets, texts, 1, (0, 1)) == (5, 6)
    assert token_span(offsets, texts, 0, (5, 6)) is None


LETTERS = st.text(st.sampled_from("abcXYZ019é.,'-"), min_size=1, max_size=6)
WORDS = st.lists(LETTERS, min_size=1, max_size=8)


@given(
    first=WORDS,
    second=WORDS,
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_words_tokens_cover_the_word_and_nothing_of_its_neighbours(
    first: list[str], second: list[str], data: st.DataObject, any_tokenizer: Any
) -> None:
    words = (first, second)
    picks = [data.draw(st.integers(0, len(each) - 1)) for each in words]
    starts = [len(" ".join(each[:pick])) + (pick > 0) for each, pick in zip(words, picks, strict=True)]
    marks = tuple(
        (start, start + len(each[pick])) for start, each, pick in zip(starts, words, picks, strict=True)
    )
    texts = (" ".join(first), " ".join(second))
    example = Example("0", *texts, label=0, spans=marks)
    (feature,) = encode([example], any_tokenizer, get_task("wic"), max_length=512)
    plain = any_tokenizer(*texts, return_offsets_mapping=True)
    assert feature["input_ids"] == plain["input_ids"]
    for number, ((start, end), (begin, stop)) in enumerate(zip(feature["spans"], marks, strict=True)):
        inside = range(start, end)
        for index, (offset, sequence) in enumerate(
            zip(plain["offset_mapping"], plain.sequence_ids(), strict=True)
        ):
            letters = set(range(*offset)) if sequence == number else set()
            word = set(range(begin, stop))
            assert bool(letters & word) == (index in inside)
            assert (
                index not in inside or not texts[number][offset[0] : offset[1]].strip(" ") or letters <= word
            )


def long_pair(tokens: int) -> Example:
    text = " ".join(["the"] * tokens)
    return Example("9", text, "the cat", 0, ((len(text) - 3, len(text)), (4, 7)))


def test_a_span_that_truncation_removes_is_an_error_that_says_how_long_the_text_is(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"example 9: cut to max_length=12 tokens it loses .*; it has 25"):
        encode([long_pair(20)], tokenizer, get_task("wic"), max_length=12)


def test_an_example_that_lost_a_span_can_be_dropped_and_is_listed(tokenizer: Any) -> None:
    kept = long_pair(3)
    encoded = encode([long_pair(20), kept], tokenizer, get_task("wic"), max_length=12, lost_spans="drop")
    assert encoded.dropped == ("9",)
    assert encoded.examples == [kept]
    assert encoded[0]["spans"] == [[3, 4], [6, 7]]


def test_a_span_that_loses_a_part_of_its_tokens_counts_as_lost(tokenizer: Any) -> None:
    example = Example("0", "the the the zebra", None, 0, ((12, 17), (0, 3)))  # zebra: five pieces
    whole = encode([example], tokenizer, get_task("wsc"), max_length=10)
    assert whole[0]["spans"] == [[4, 9], [1, 2]]
    with pytest.raises(ConfigError, match="loses a marked span"):
        encode([example], tokenizer, get_task("wsc"), max_length=9)


def test_a_cut_that_spares_the_spans_is_no_loss(tokenizer: Any) -> None:
    example = Example("0", "cat the the the the the", None, 0, ((0, 3), (4, 7)))
    encoded = encode([example], tokenizer, get_task("wsc"), max_length=5)
    assert encoded[0]["spans"] == [[1, 2], [2, 3]]
    assert (encoded.truncated, encoded.dropped) == (1, ())


def test_a_span_without_a_token_is_refused(tokenizer: Any) -> None:
    example = Example("0", "the \u200b cat", None, 0, ((4, 5), (0, 3)))  # a character the normalizer removes
    with pytest.raises(ConfigError, match=r"example 0: the tokenizer gives no token for the span \[4, 5\]"):
        encode([example], tokenizer, get_task("wsc"), max_length=32)


def test_missing_spans_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="example 0 marks 0 spans; wic has 2"):
        encode([Example("0", "the", "cat", 0)], tokenizer, get_task("wic"), max_length=32)
