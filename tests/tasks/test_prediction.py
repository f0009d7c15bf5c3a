# SPDX-License-Identifier: MIT
"""Logits come in the order of the examples, whatever the batches, and the model is left as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastformers.errors import ConfigError
from fastformers.tasks import Example, build_model, encode, get_task, predict_logits
from fastformers.tasks.custom import task_with_labels
from fastformers.tasks.prediction import accepted_inputs

WORDS = "the cat sat on the mat because so not good".split()


@pytest.fixture
def encoded(tokenizer: Any) -> Any:
    lengths = (1, 7, 3, 10, 2)
    examples = [Example(str(n), " ".join(WORDS[:n]), None, 0) for n in lengths]
    return encode(examples, tokenizer, get_task("sst2"), max_length=16)


class Counting(nn.Module):
    """Answers with the number of tokens; takes no token types."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Dropout()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        assert not torch.is_grad_enabled()
        assert not self.training
        self.seen.append(tuple(input_ids.shape))
        return SimpleNamespace(logits=attention_mask.sum(1, keepdim=True).half())


def test_rows_are_in_the_order_of_the_examples_and_float32(encoded: Any) -> None:
    logits = predict_logits(Counting(), encoded, 2)
    assert logits[:, 0].tolist() == [3, 9, 5, 12, 4]
    assert logits.dtype == np.float32


@pytest.mark.parametrize("types", [0, 2])
def test_a_compiled_encoder_gets_token_types_only_if_its_family_has_some(types: int) -> None:
    class Compiled:
        plan = SimpleNamespace(types=types)

        def __call__(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> None: ...

    batch = {"input_ids": torch.ones(1, 2), "token_type_ids": torch.ones(1, 2), "labels": torch.ones(1)}
    expected = ["input_ids", "token_type_ids"] if types else ["input_ids"]
    assert list(accepted_inputs(Compiled(), batch)) == expected


def test_a_wrapped_model_gets_the_token_types_that_it_hands_on(checkpoint: Path, tokenizer: Any) -> None:
    pairs = encode([Example("1", "the cat", "not good", 0)], tokenizer, get_task("rte"), max_length=16)
    model = build_model(get_task("rte"), checkpoint)
    np.testing.assert_array_equal(
        predict_logits(nn.DataParallel(model), pairs, 1), predict_logits(model, pairs, 1)
    )
    batch = {"input_ids": torch.ones(1, 2), "token_type_ids": torch.ones(1, 2)}
    assert list(accepted_inputs(nn.DataParallel(Counting()), batch)) == ["input_ids"]


def test_batches_are_no_longer_than_their_longest_text_unless_asked(encoded: Any) -> None:
    model = Counting()
    predict_logits(model, encoded, 2)
    assert model.seen == [(2, 12), (2, 5), (1, 3)]
    model.seen.clear()
    predict_logits(model, encoded, 2, fixed_length=16)
    assert model.seen == [(2, 16), (2, 16), (1, 16)]


def test_training_flags_are_put_back_one_by_one(encoded: Any) -> None:
    model = Counting().train()
    model.inner.eval()
    predict_logits(model, encoded, 2)
    assert (model.training, model.inner.training) == (True, False)


def test_flags_are_put_back_after_a_failure_too(encoded: Any) -> None:
    model = Counting().train()
    with pytest.raises(Exception, match="does not fit"):
        predict_logits(model, encoded, 2, fixed_length=3)
    assert model.training


@pytest.mark.parametrize("name", ["sst2", "stsb", "wic"])
def test_padding_and_batches_do_not_change_the_logits(name: str, checkpoint: Path, tokenizer: Any) -> None:
    task = get_task(name)
    spans = ((0, 3), (4, 7))[: len(task.span_texts)]
    texts = [" ".join(WORDS[: 2 + n]) for n in range(6)]
    examples = [Example(str(n), text, "not so good", None, spans) for n, text in enumerate(texts)]
    features = encode(examples, tokenizer, task, max_length=32)
    model = build_model(task, checkpoint)
    alone = predict_logits(model, features, 1)
    assert alone.shape == (6, task.num_labels)
    # float32 attention over other numbers of masked keys: measured 2e-8
    np.testing.assert_allclose(predict_logits(model, features, 4, fixed_length=32), alone, atol=1e-6)


def test_any_callable_with_logits_is_a_model(encoded: Any) -> None:
    def compiled(**inputs: Tensor) -> Any:
        return SimpleNamespace(logits=inputs["input_ids"][:, 1:2].float())

    assert predict_logits(compiled, encoded, 3).shape == (5, 1)


def test_a_users_task_is_predicted_as_any_other(checkpoint: Path, tokenizer: Any) -> None:
    task = task_with_labels(("a", "b", "c"))
    features = encode([Example("1", "the cat")], tokenizer, task, max_length=8)
    assert predict_logits(build_model(task, checkpoint), features, 4).shape == (1, 3)


def test_what_a_model_has_no_place_for_is_refused_in_words(checkpoint: Path, tokenizer: Any) -> None:
    task = task_with_labels(("a", "b"))
    model = build_model(task, checkpoint)
    embeddings: Any = model.get_submodule("bert.embeddings")
    long = encode([Example("1", "the " * 400)], tokenizer, task, max_length=500)
    positions = embeddings.position_embeddings.num_embeddings
    with pytest.raises(ConfigError, match=f"a text has 402 tokens, the model has positions for {positions}"):
        predict_logits(model, long, 4)
    pair = encode([Example("1", "the cat", "sat")], tokenizer, task, max_length=16)
    embeddings.token_type_embeddings = nn.Embedding(1, 32)
    with pytest.raises(ConfigError, match="hold the token type 1, the model knows 1 token types"):
        predict_logits(model, pair, 4)
    embeddings.word_embeddings = nn.Embedding(6, 32)
    with pytest.raises(
        ConfigError, match="the model knows 6 token ids: the texts were cut by another model's"
    ):
        predict_logits(model, pair, 4)
