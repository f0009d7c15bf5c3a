# SPDX-License-Identifier: MIT
"""Texts, pairs and example tensors become batches for the model; what cannot be used is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers import errors
from fastformers.quantization.inputs import Examples, bundled_texts, collect_examples


class TakesAnything(nn.Module):
    """Accepts any arguments."""

    def forward(self, **inputs: Tensor) -> Tensor:
        return inputs["input_ids"]


def collect(model: nn.Module, tokenizer: Any = None, texts: Any = None, **config: Any) -> Examples:
    found = collect_examples(model, ff.Int8Config(**config), tokenizer, texts)
    assert found is not None
    return found


def test_bundled_texts_are_many_and_different() -> None:
    found = bundled_texts()
    assert len(set(found)) == len(found) >= 64


def test_without_texts_the_bundled_ones_are_used(tokenizer: Any) -> None:
    found = collect(TakesAnything(), tokenizer, max_texts=20)
    assert found.count == 20
    assert found.origin == "20 bundled texts"
    assert sorted(place for batch in found.batches for place in batch.positions) == list(range(20))


def test_nothing_to_go_by_gives_nothing(plain: nn.Sequential) -> None:
    assert collect_examples(plain, ff.Int8Config(), None, None) is None


def test_texts_of_like_length_share_a_batch(tokenizer: Any, texts: list[str]) -> None:
    found = collect(TakesAnything(), tokenizer, texts[::-1], batch_size=4)
    assert [len(batch.positions) for batch in found.batches] == [4, 4, 4, 4]
    longest = [batch.inputs["input_ids"].shape[1] for batch in found.batches]
    assert longest == sorted(longest, reverse=True)  # longest first: the workspace is at its largest at once
    assert sum(int((~batch.mask).sum()) for batch in found.batches if batch.mask is not None) <= 30


def test_long_texts_are_cut_and_many_are_thinned_out_evenly(tokenizer: Any, texts: list[str]) -> None:
    found = collect(TakesAnything(), tokenizer, texts * 4, max_length=8, max_texts=16)
    assert found.count == 16
    assert found.origin == "16 of the 64 texts given"
    assert max(batch.inputs["input_ids"].shape[1] for batch in found.batches) == 8


def test_length_is_bounded_by_the_models_positions(
    make_model: Callable[..., Any], tokenizer: Any, texts: list[str]
) -> None:
    model = make_model("roberta", max_position_embeddings=12)
    found = collect(model, tokenizer, texts)
    assert max(batch.inputs["input_ids"].shape[1] for batch in found.batches) == 10
    with torch.no_grad():
        model(**found.batches[-1].inputs)


def test_pairs_of_texts_are_encoded_as_pairs(tokenizer: Any, texts: list[str]) -> None:
    found = collect(TakesAnything(), tokenizer, [(text, "the cat") for text in texts])
    types = found.batches[0].inputs["token_type_ids"]
    assert int(types.max()) == 1


def test_a_tokenizer_without_padding_is_given_one_text_at_a_time(tokenizer: Any, texts: list[str]) -> None:
    import copy

    unpadded = copy.deepcopy(tokenizer)
    unpadded.pad_token = None
    found = collect(TakesAnything(), unpadded, texts)
    assert [len(batch.positions) for batch in found.batches] == [1] * 16


def test_inputs_the_model_does_not_take_are_left_out(tokenizer: Any, texts: list[str]) -> None:
    class TakesIds(nn.Module):
        def forward(self, input_ids: Tensor) -> Tensor:
            return input_ids

    found = collect(TakesIds(), tokenizer, texts)
    assert {name for batch in found.batches for name in batch.inputs} == {"input_ids"}
    assert all(batch.mask is not None for batch in found.batches)


def test_example_inputs_may_be_tensors_tuples_or_dicts(
    plain: nn.Sequential, plain_inputs: list[Tensor]
) -> None:
    for given in (plain_inputs, [(x,) for x in plain_inputs], [{"input": x} for x in plain_inputs]):
        found = collect(plain, None, given)
        assert found.count == 32
        assert [list(batch.inputs) for batch in found.batches] == [["input"]] * 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("one text", "one str"),
        (torch.zeros(9, 40), "one Tensor"),
        ({"input": torch.zeros(9, 40)}, "one dict"),
        ([], "0 texts are too few"),
        (["a"] * 7, "7 texts are too few.*at least 8"),
        ([1, 2, 3], "texts holds int"),
        (["a"] * 8 + [None], "NoneType, str"),
        (["a"] * 8 + [("a", "b")], "str, tuple.*only pairs"),
        ([("a", "b")] * 8 + ["cd"], "str, tuple.*only pairs"),
        ([torch.zeros(7, 40)], "7 examples"),
        ([torch.zeros(9, 40), "text"], "Tensor, str"),
        ([torch.tensor(1.0)] * 9, "Tensor"),
        ([{}], "dict"),
        ([(torch.zeros(9, 40), torch.zeros(9, 40))], "2 tensors does not fit Sequential.forward"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(
    plain: nn.Sequential, tokenizer: Any, given: Any, words: str
) -> None:
    with pytest.raises(errors.CalibrationError, match=words):
        collect_examples(plain, ff.Int8Config(), tokenizer, given)


def test_texts_need_a_tokenizer(plain: nn.Sequential, texts: list[str]) -> None:
    with pytest.raises(errors.CalibrationError, match="pass tokenizer="):
        collect_examples(plain, ff.Int8Config(), None, texts)


def test_positional_examples_need_named_parameters() -> None:
    class TakesMany(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return inputs[0]

    with pytest.raises(errors.CalibrationError, match="dicts of tensors"):
        collect_examples(TakesMany(), ff.Int8Config(), None, [torch.zeros(9, 4)])
