# SPDX-License-Identifier: MIT
"""The way of ASCII texts gives what the whole tokenizer gives, or does not take the text."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from fastformers.ascii_texts import AsciiTokenizer
from fastformers.tokenization import TextEncoder

PIECES = [*string.ascii_lowercase, *string.ascii_uppercase, *string.digits, *string.punctuation]
WORDS = ["the", "The", "sep", "mask", "a\tb", "##ing", "##s", "##\x07"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {
    piece: index
    for index, piece in enumerate(dict.fromkeys([*SPECIAL, *PIECES, *(f"##{p}" for p in PIECES), *WORDS]))
}

NORMALIZERS = {
    "bert": normalizers.BertNormalizer(),
    "bert cased": normalizers.BertNormalizer(lowercase=False),
    "bert unclean": normalizers.BertNormalizer(clean_text=False),
    "bert strip accents": normalizers.BertNormalizer(strip_accents=True, handle_chinese_chars=False),
    "NFC": normalizers.NFC(),
    "NFKC lower": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    "nested": normalizers.Sequence(
        [normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), normalizers.Lowercase()]
    ),
}
PRE_TOKENIZERS = {
    "bert": pre_tokenizers.BertPreTokenizer(),
    "only blanks": pre_tokenizers.Split(" ", "isolated"),  # sees a tab and a blank as two things
    "none": None,
}


def _tokenizer(normalizer: Any, pre_tokenizer: Any, added: list[Any] | None = None) -> Tokenizer:
    made = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    made.normalizer = normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    made.add_special_tokens(SPECIAL)
    made.add_tokens(added or [])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", VOCABULARY["[CLS]"]), ("[SEP]", VOCABULARY["[SEP]"])],
    )
    made.enable_truncation(12)
    return made


TOKENIZERS = {
    f"{name}, {split}": _tokenizer(normalizer, pre_tokenizer)
    for name, normalizer in NORMALIZERS.items()
    for split, pre_tokenizer in PRE_TOKENIZERS.items()
}

# Any ASCII, control characters too, with special tokens, their look-alikes and words among it.
ascii_texts = st.lists(
    st.one_of(st.characters(max_codepoint=127), st.sampled_from([*SPECIAL, *WORDS, "[sep]", "[S\x01EP]"]))
).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=ascii_texts, second=st.one_of(st.none(), ascii_texts))
@example(text="The [SEP] mask", second=None)
@example(text="a\tb\r\nc\x0b\x7f d\x1e", second="\x00")
@example(text="[S\x01EP] [sep]", second="ing " * 12)
def test_ids_types_and_cuts_are_the_whole_tokenizers(name: str, text: str, second: str | None) -> None:
    whole = TOKENIZERS[name]
    ascii_way = AsciiTokenizer.of(whole)
    assert ascii_way is not None
    parts = [ascii_way.normalized(part) for part in (text, second) if part is not None]
    if None in parts:
        assert any(token.lower() in f"{text} {second}".lower().replace("\x01", "") for token in SPECIAL)
        return
    expected, found = whole.encode(text, second), ascii_way.tokenizer.encode(*parts)
    assert (found.ids, found.type_ids) == (expected.ids, expected.type_ids)
    assert len(found.overflowing) == len(expected.overflowing)


def test_text_that_is_not_ascii_is_not_taken() -> None:
    ascii_way = AsciiTokenizer.of(TOKENIZERS["bert, bert"])
    assert ascii_way is not None
    assert ascii_way.normalized("caf\u00e9") is None


@pytest.mark.parametrize(
    "added", ["Foo", AddedToken("Foo", normalized=False), AddedToken("Foo", lstrip=True)]
)
def test_text_with_an_added_token_is_not_taken(added: Any) -> None:
    ascii_way = AsciiTokenizer.of(_tokenizer(normalizers.BertNormalizer(), None, [added]))
    assert ascii_way is not None
    assert ascii_way.normalized("a foolish text") is None
    assert ascii_way.normalized("A text") == "a text"


@pytest.mark.parametrize(
    ("normalizer", "added"),
    [
        (None, []),
        (normalizers.Replace("a", "b"), []),
        (normalizers.Sequence([normalizers.Lowercase(), normalizers.Prepend("_")]), []),
        (normalizers.Lowercase(), ["a\tb"]),
        (normalizers.Lowercase(), [f"<{number}>" for number in range(16)]),
    ],
)
def test_what_is_not_known_to_be_the_same_has_no_such_way(normalizer: Any, added: list[str]) -> None:
    assert AsciiTokenizer.of(_tokenizer(normalizer, None, added)) is None


def test_texts_of_both_ways_come_back_in_order() -> None:
    whole = TOKENIZERS["bert, bert"]
    texts = ["The one", "caf\u00e9", ("a pair", "[SEP] of"), ("ascii", "pair"), "na\u00efve", "last"]
    encoder = TextEncoder(whole, 12)
    expected = [whole.encode(*text) if isinstance(text, tuple) else whole.encode(text) for text in texts]
    assert [list(found.ids) for found in encoder.encode(texts)] == [one.ids for one in expected]
    assert [list(encoder.encode([text])[0].types) for text in texts] == [one.type_ids for one in expected]
