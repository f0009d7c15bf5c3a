# SPDX-License-Identifier: MIT
"""A smaller vocabulary cuts known texts into the same pieces, other texts into known ones, and answers stay."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import fastformers as ff
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.pruning.tokenizer_json import cut_tokenizer

Make = Callable[..., Any]

CORPUS = [
    f"{verb} the {adjective} {noun} {place}, please! Order #{number} is still unopened."
    for number, (verb, adjective, noun, place) in enumerate(
        (verb, adjective, noun, place)
        for verb in ("Return", "Replace", "Repair", "Refund", "Delivering")
        for adjective in ("broken", "unbroken", "smallest", "smaller")
        for noun in ("keyboard", "boards", "keys", "telephone")
        for place in ("today", "yesterday", "overseas")
    )
]
TEXTS = CORPUS[::24]


def word_pieces() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizerFast

    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=220, special_tokens=special, show_progress=False)
    )
    return BertTokenizerFast(vocab=core.get_vocab())


def merges() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    pairs = [tuple(pair) for pair in json.loads(core.to_str())["model"]["merges"]]
    return RobertaTokenizerFast(vocab=core.get_vocab(), merges=pairs)


def scores() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizerFast

    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    core.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    return XLMRobertaTokenizerFast(
        vocab=[tuple(entry) for entry in json.loads(core.to_str())["model"]["vocab"]]
    )


def words() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = ["[PAD]", "[UNK]", *sorted({word for text in CORPUS for word in text.split()})]
    core = Tokenizer(models.WordLevel({word: place for place, word in enumerate(known)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.enable_padding(pad_id=0, pad_token="[PAD]")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")


@cache
def made(kind: Callable[[], Any]) -> Any:
    return kind()


KINDS = {"bert": word_pieces, "roberta": merges, "xlm-roberta": scores, "distilbert": words}


@pytest.fixture(params=KINDS)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def tokenizer(family: str) -> Any:
    return made(KINDS[family])


@pytest.fixture
def model(make_model: Make, family: str, tokenizer: Any) -> Any:
    return make_model(family, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)


def answers(model: Any, tokenizer: Any, texts: list[Any] = TEXTS) -> torch.Tensor:
    found = []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=40, return_tensors="pt")["input_ids"]
            found.append(model(input_ids=ids).logits)
    return torch.cat(found)


def test_known_texts_keep_their_pieces_and_answers(model: Any, tokenizer: Any) -> None:
    before = answers(model, tokenizer)
    rows = model.get_input_embeddings().weight.clone()
    smaller = ff.prune_vocabulary_(model, tokenizer, TEXTS)
    assert [smaller.tokenize(text) for text in TEXTS] == [tokenizer.tokenize(text) for text in TEXTS]
    assert torch.equal(answers(model, smaller), before)
    kept = model.get_input_embeddings()
    assert len(smaller) == kept.num_embeddings == len(kept.weight) == model.config.vocab_size < len(rows)
    places = [
        tokenizer.convert_tokens_to_ids(piece)
        for piece in smaller.convert_ids_to_tokens(range(len(kept.weight)))
    ]
    assert places == sorted(places)
    assert torch.equal(kept.weight, rows[places])


def test_other_texts_fall_into_pieces_that_are_there(model: Any, tokenizer: Any, family: str) -> None:
    smaller = ff.prune_vocabulary_(model, tokenizer, TEXTS)
    unseen = [text for text in CORPUS if text not in TEXTS]
    ids = [id_ for text in unseen for id_ in smaller(text)["input_ids"]]
    assert max(ids) < len(smaller)
    if family != "distilbert":  # whole words have no smaller pieces
        assert smaller.unk_token_id not in ids


def test_both_are_saved_and_come_back(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    smaller = ff.prune_vocabulary_(model, tokenizer, TEXTS)
    ff.save_pretrained(model, tmp_path / "model", smaller)
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert again(TEXTS)["input_ids"] == smaller(TEXTS)["input_ids"]
    assert torch.equal(answers(ff.load_pretrained_torch(tmp_path / "model"), again), answers(model, smaller))


def test_texts_are_cut_and_padded_where_they_were(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    before = copy.deepcopy(tokenizer)
    before.truncation_side = before.padding_side = "left"
    smaller = ff.prune_vocabulary_(model, before, TEXTS)
    smaller.save_pretrained(tmp_path)
    for after in (smaller, type(smaller).from_pretrained(tmp_path)):
        for options in ({"truncation": True, "max_length": 6}, {"padding": "max_length", "max_length": 50}):
            ours, theirs = (
                each.convert_ids_to_tokens(each(TEXTS[0], **options)["input_ids"]) for each in (after, before)
            )
            assert ours == theirs


def test_special_tokens_are_where_the_config_says(model: Any, tokenizer: Any) -> None:
    smaller = ff.prune_vocabulary_(model, tokenizer, TEXTS)
    assert model.config.pad_token_id == smaller.pad_token_id
    assert smaller.all_special_tokens == tokenizer.all_special_tokens
    one, other = tokenizer(*TEXTS[:2])["input_ids"], smaller(*TEXTS[:2])["input_ids"]
    assert smaller.convert_ids_to_tokens(other) == tokenizer.convert_ids_to_tokens(one)


def test_it_is_pruned_again(model: Any, tokenizer: Any) -> None:
    smaller = ff.prune_vocabulary_(model, tokenizer, CORPUS)
    before = answers(model, smaller, TEXTS[:2])
    smallest = ff.prune_vocabulary_(model, smaller, TEXTS[:2])
    assert len(smallest) < len(smaller)
    assert torch.equal(answers(model, smallest, TEXTS[:2]), before)


def test_rare_pieces_go(make_model: Make) -> None:
    tokenizer = made(word_pieces)
    model = make_model("bert", vocab_size=len(tokenizer))
    texts = ["keyboard keyboard", "keyboard telephone"]
    smaller = ff.prune_vocabulary_(model, tokenizer, texts, min_count=2)
    assert smaller.tokenize("keyboard") == tokenizer.tokenize("keyboard")
    assert len(smaller.tokenize("telephone")) > len(tokenizer.tokenize("telephone"))


def test_pairs_and_texts_may_be_mixed(make_model: Make) -> None:
    tokenizer = made(word_pieces)
    model = make_model("bert", vocab_size=len(tokenizer))
    smaller = ff.prune_vocabulary_(model, tokenizer, ["boards", ("keyboard", "telephone")])
    for word in ("boards", "keyboard", "telephone"):
        assert smaller.tokenize(word) == tokenizer.tokenize(word)


def test_positions_that_are_counted_from_the_padding_id_stay(make_model: Make) -> None:
    tokenizer = made(words)
    model = make_model("roberta", vocab_size=len(tokenizer), pad_token_id=9)
    before = answers(model, tokenizer)
    smaller = ff.prune_vocabulary_(model, tokenizer, TEXTS)
    assert model.roberta.embeddings.padding_idx == model.config.pad_token_id == 9
    assert torch.equal(answers(model, smaller), before)


def test_what_cannot_be_done_is_said_and_nothing_changes(make_model: Make) -> None:
    tokenizer = made(word_pieces)
    model = make_model("bert", vocab_size=len(tokenizer))
    weight = model.get_input_embeddings().weight
    for texts, options, words_ in (
        ([], {}, "no texts"),
        (TEXTS, {"min_count": 0}, "min_count is 0"),
        (TEXTS, {"min_count": True}, "min_count is True"),
    ):
        with pytest.raises(ConfigError, match=words_):
            ff.prune_vocabulary_(model, tokenizer, texts, **options)
    with pytest.raises(ConfigError, match="not this model's"):
        ff.prune_vocabulary_(make_model("bert", vocab_size=20), tokenizer, TEXTS)
    masked = make_model("bert", "AutoModelForMaskedLM", vocab_size=len(tokenizer))
    with pytest.raises(UnsupportedModelError, match="head over the vocabulary"):
        ff.prune_vocabulary_(masked, tokenizer, TEXTS)
    with pytest.raises(UnsupportedModelError, match="no fast tokenizer"):
        ff.prune_vocabulary_(model, object(), TEXTS)
    assert model.get_input_embeddings().weight is weight


def test_a_kind_of_tokenizer_that_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="Other model is not covered: WordPiece"):
        cut_tokenizer({"model": {"type": "Other"}}, {1})


def test_merges_that_lead_to_a_piece_stay() -> None:
    content = {
        "model": {
            "type": "BPE",
            "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5, "abab": 6},
            "merges": [["a", "b"], ["ab", "c"], ["b", "c"], ["ab", "ab"]],
        },
        "added_tokens": [{"id": 9, "content": "<x>"}],
        "post_processor": {
            "type": "Sequence",
            "processors": [
                {"type": "RobertaProcessing", "sep": ["<x>", 9], "cls": ["a", 0]},
                {"type": "TemplateProcessing", "special_tokens": {"<x>": {"ids": [9]}}},
            ],
        },
        "padding": {"pad_id": 9},
    }
    cut, new_id = cut_tokenizer(content, {4})
    assert new_id == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 9: 5}
    assert cut["model"]["merges"] == [["a", "b"], ["ab", "c"]]
    assert cut["model"]["vocab"] == {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}
    assert cut["added_tokens"][0]["id"] == cut["padding"]["pad_id"] == 5
    first, second = cut["post_processor"]["processors"]
    assert (first["sep"][1], second["special_tokens"]["<x>"]["ids"]) == (5, [5])
    assert content["padding"]["pad_id"] == 9  # type: ignore[index]


@pytest.mark.parametrize("wrong", [None, ("a", "b", "c"), ["the"], ("a", None), 3])
def test_what_is_neither_a_text_nor_a_pair_is_refused(make_model: Make, wrong: Any) -> None:
    tokenizer = made(word_pieces)
    model = make_model("bert", vocab_size=len(tokenizer), pad_token_id=0)
    with pytest.raises(ConfigError, match=r"texts\[1\] is .*, must be a text or a pair of texts"):
        ff.prune_vocabulary_(model, tokenizer, ["the", wrong])
    with pytest.raises(ConfigError, match="texts is one text, must be a list of texts"):
        ff.prune_vocabulary_(model, tokenizer, TEXTS[0])
    assert model.config.vocab_size == len(tokenizer)
