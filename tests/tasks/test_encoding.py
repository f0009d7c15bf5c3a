# SPDX-License-Identifier: MIT
"""Tokenised examples: the tokenizer's own ids, and truncation that spares the question."""

from __future__ import annotations

from typing import Any

import pytest

from fastformers.errors import ConfigError
from fastformers.tasks import Example, encode, get_task

RTE, MULTIRC = get_task("rte"), get_task("multirc")


def asked(passage: str, question: str, answer: str) -> Example:
    return Example("0-0-0", f"{passage} {question}", answer, 1, keep_from=len(passage) + 1)


def words_of(ids: list[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(ids))


def test_ids_and_token_types_are_the_tokenizers(any_tokenizer: Any) -> None:
    examples = [Example(str(index), "the cat", "sat on " * index, 0) for index in range(1, 4)]
    encoded = encode(examples, any_tokenizer, RTE, max_length=64)
    for example, feature in zip(examples, encoded, strict=True):
        plain = any_tokenizer(example.text, example.text_pair)
        plain.pop("attention_mask")
        assert feature == {**plain, "labels": 0}
    assert encoded.lengths == [len(feature["input_ids"]) for feature in encoded]
    assert encoded.examples == examples
    assert (encoded.truncated, encoded.dropped, encoded.max_length) == (0, (), 64)


def test_single_texts_and_pairs_may_be_mixed_and_keep_their_order(tokenizer: Any) -> None:
    examples = [Example("0", "the"), Example("1", "cat", "sat"), Example("2", "dog")]
    encoded = encode(examples, tokenizer, RTE, max_length=16)
    assert [words_of(feature["input_ids"], tokenizer) for feature in encoded] == [
        "[CLS] the [SEP]",
        "[CLS] cat [SEP] sat [SEP]",
        "[CLS] dog [SEP]",
    ]
    assert all("labels" not in feature for feature in encoded)


def test_more_examples_than_one_chunk_keep_their_order(tokenizer: Any) -> None:
    examples = [Example(str(index), str(index)) for index in range(2050)]
    encoded = encode(examples, tokenizer, RTE, max_length=16)
    found = [words_of(feature["input_ids"], tokenizer).replace(" ##", "") for feature in encoded]
    assert found == [f"[CLS] {index} [SEP]" for index in range(2050)]


def test_truncation_cuts_the_longer_text_from_the_right(any_tokenizer: Any) -> None:
    example = Example("0", "the cat sat on the mat", "so not", 0)
    encoded = encode([example], any_tokenizer, RTE, max_length=9)
    plain = any_tokenizer(example.text, example.text_pair, truncation="longest_first", max_length=9)
    assert encoded[0]["input_ids"] == plain["input_ids"]
    assert encoded.truncated == 1


def test_the_question_of_multirc_is_kept_and_the_passage_cut(tokenizer: Any) -> None:
    example = asked("the cat sat on the mat because so", "who sat", "the cat")
    (feature,) = encode([example], tokenizer, MULTIRC, max_length=10)
    assert words_of(feature["input_ids"], tokenizer) == "[CLS] the cat sat who sat [SEP] the cat [SEP]"
    assert feature["token_type_ids"] == [0] * 7 + [1] * 3


def test_the_papers_truncation_cuts_the_question_first(tokenizer: Any) -> None:
    example = asked("the cat sat on the mat because so", "who sat", "the cat")
    (feature,) = encode([example], tokenizer, MULTIRC, max_length=10, truncation="longest_first")
    assert words_of(feature["input_ids"], tokenizer) == "[CLS] the cat sat on the [SEP] the cat [SEP]"


@pytest.mark.parametrize("max_length", [9, 11, 14, 19, 22, 23, 40])
def test_whatever_the_limit_the_question_is_whole_where_it_fits(max_length: int, any_tokenizer: Any) -> None:
    example = asked("the cat sat on", "who", "so")
    (feature,) = encode([example], any_tokenizer, MULTIRC, max_length=max_length)
    text = any_tokenizer.decode(feature["input_ids"], skip_special_tokens=True)
    assert len(feature["input_ids"]) <= max_length
    assert "who" in text


def test_a_question_and_answer_too_long_together_lose_the_end_of_the_longer(tokenizer: Any) -> None:
    example = asked("the", "who who who who who", "cat")
    (feature,) = encode([example], tokenizer, MULTIRC, max_length=7)
    assert words_of(feature["input_ids"], tokenizer) == "[CLS] who who who [SEP] cat [SEP]"


def test_a_subset_keeps_features_and_examples_together(tokenizer: Any) -> None:
    encoded = encode(
        [Example(str(i), word) for i, word in enumerate(("the", "cat " * 9))], tokenizer, RTE, max_length=8
    )
    part = encoded.subset([1])
    assert (part.truncated, encoded.subset([0]).truncated) == (1, 0)
    assert (part.examples[0].guid, list(part), part.lengths) == ("1", [encoded[1]], [8])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_length": 3}, "max_length is 3, of which 3 are special tokens: no room for text"),
        (
            {"max_length": 8, "truncation": "left"},
            "truncation is 'left'; allowed: keep_question, longest_first",
        ),
        ({"max_length": 8, "lost_spans": "skip"}, "lost_spans is 'skip'; allowed: error, drop"),
    ],
)
def test_wrong_choices_are_named(options: Any, words: str, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=words):
        encode([Example("0", "the", "cat")], tokenizer, RTE, **options)


def test_no_examples_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="there are no examples to encode"):
        encode([], tokenizer, RTE, max_length=8)


def test_a_text_without_any_token_is_named() -> None:
    class NoTokens(SlowTokenizer):
        def num_special_tokens_to_add(self, pair: bool) -> int:
            return 0

        def __call__(self, texts: list[str], pairs: Any, **options: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [list(map(len, text.split("\u200b")[0].split())) for text in texts]}

    with pytest.raises(ConfigError, match="example b: the tokenizer gives no token for"):
        encode([Example("a", "the"), Example("b", "\u200b")], NoTokens(), RTE, max_length=8)


class SlowTokenizer:
    """What a tokenizer written in Python looks like from here."""

    is_fast = False

    def num_special_tokens_to_add(self, pair: bool) -> int:
        return 3 if pair else 2

    def __call__(self, texts: list[str], pairs: Any, **options: Any) -> dict[str, list[list[int]]]:
        assert "return_offsets_mapping" not in options or not options["return_offsets_mapping"]
        return {"input_ids": [[2, *map(len, text.split()), 3] for text in texts]}


def test_a_slow_tokenizer_serves_where_no_offsets_are_needed() -> None:
    encoded = encode([Example("0", "the cats", None, 1)], SlowTokenizer(), RTE, max_length=8)
    assert encoded[0] == {"input_ids": [2, 3, 4, 3], "labels": 1}


def test_a_slow_tokenizer_is_refused_where_offsets_are_needed() -> None:
    with pytest.raises(ConfigError, match="multirc needs offset mappings, which SlowTokenizer does not give"):
        encode([asked("the", "cat", "sat")], SlowTokenizer(), MULTIRC, max_length=8)
