# SPDX-License-Identifier: MIT
"""An engine over a pair classifier answers pairs as the torch model does, and refuses single texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers.benchmarking.random_encoder import word_tokenizer
from fastformers.errors import ShapeError
from fastformers.modules.pair_classifier import PairClassifier

PAIRS = [("w1 w2 w3", "w4 w5"), ("w7", "w7"), ("w2 w9 w11 w3", "w1"), ("w8 w2", "")]


@pytest.fixture(scope="module")
def model() -> PairClassifier:
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    tokens = word_tokenizer()
    ids = {"separator_id": tokens.token_to_id("[SEP]"), "first_id": tokens.token_to_id("[CLS]")}
    built = PairClassifier(transformers.AutoModel.from_config(config), 2, **ids)
    built.config.id2label = {0: "other", 1: "alike"}
    return built.eval()


@pytest.fixture(scope="module")
def engine(model: PairClassifier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ff.Engine]:
    place = tmp_path_factory.mktemp("pairs") / "out"
    ff.save_pretrained(ff.compile(model, ff.CompileConfig(int8=None)), place, tokenizer=word_tokenizer())
    with ff.Engine.from_pretrained(place, instances=2, threads=1) as opened:
        yield opened


def torch_logits(model: PairClassifier) -> Any:
    rows = []
    for pair in PAIRS:
        encoded = word_tokenizer().encode(*pair)
        with torch.no_grad():
            ids, types = torch.tensor([encoded.ids]), torch.tensor([encoded.type_ids])
            rows.append(model(input_ids=ids, token_type_ids=types).logits[0])
    return torch.stack(rows).numpy()


def test_answers_are_the_torch_models(engine: ff.Engine, model: PairClassifier) -> None:
    wanted = torch_logits(model)
    # float32 sums in another order; the logits are up to 5.
    np.testing.assert_allclose(engine.logits(PAIRS), wanted, rtol=0, atol=1e-4)
    assert wanted[3].tolist() == [0.0, 0.0]  # a second text without tokens is like nothing
    names = [("other", "alike")[place] for place in wanted.argmax(1)]
    assert [answer.label for answer in engine.predict(PAIRS)] == names


def test_one_at_a_time_and_many_in_pieces_give_the_same_bits(engine: ff.Engine) -> None:
    together = engine.logits(PAIRS * 100)
    alone = np.stack([engine.submit(pair, task="logits").result(timeout=60) for pair in PAIRS])
    assert np.array_equal(together, np.tile(alone, (100, 1)))


def test_documents_are_ranked_by_their_likeness_to_the_query(engine: ff.Engine) -> None:
    docs = [second for _, second in PAIRS]
    found = engine.rerank("w1 w2 w3", docs)
    logits = engine.logits([("w1 w2 w3", doc) for doc in docs])
    assert isinstance(logits, np.ndarray)
    best = docs[int((logits[:, 1] - logits[:, 0]).argmax())]
    assert docs[found[0].doc] == best


def test_single_texts_are_refused_by_their_place(engine: ff.Engine) -> None:
    with pytest.raises(ShapeError, match=r"text 1 is a single string.*pass a tuple of two"):
        engine.predict([PAIRS[0], "w1 w2"])
