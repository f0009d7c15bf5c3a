# SPDX-License-Identifier: MIT
"""An engine over a span classifier answers texts with marked characters as the torch model does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers.answers import Prediction
from fastformers.benchmarking.random_encoder import word_tokenizer
from fastformers.errors import ShapeError, UnsupportedModelError
from fastformers.modules.span_classifier import SpanClassifier

LABELS = ("no", "yes", "both")
FLOAT = ff.CompileConfig(int8=None)


def words(text: str, first: int, last: int | None = None) -> tuple[int, int]:
    """Characters from the beginning of one word to the end of another."""
    found = [match.span() for match in re.finditer(r"\S+", text)]
    return found[first][0], found[first if last is None else last][1]


PAIR = ("w1  w2 w3", "w4 w5 w2")
TEXTS = [
    ff.SpanText("w1 w2 w3 w4 w5", [words("w1 w2 w3 w4 w5", 1, 2), words("w1 w2 w3 w4 w5", 4)]),
    ff.SpanText(PAIR[0], [words(PAIR[0], 1), words(PAIR[1], 2)], PAIR[1], span_texts=(0, 1)),
    ff.SpanText("w9", [(0, 2), (0, 1)]),
]
#: The same spans as tokens, counted by hand: [CLS] first [SEP], or [CLS] first [SEP] second [SEP].
TOKEN_SPANS = [[[2, 4], [5, 6]], [[2, 3], [7, 8]], [[1, 2], [1, 2]]]


@pytest.fixture(scope="module", params=["-inf", "zero"])
def model(request: pytest.FixtureRequest) -> SpanClassifier:
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
    built = SpanClassifier(transformers.AutoModel.from_config(config), 2, 3, dropout=0.1, fill=request.param)
    built.config.id2label = dict(enumerate(LABELS))
    torch.nn.init.normal_(built.classifier.weight)
    return built.eval()


@pytest.fixture(scope="module")
def folder(model: SpanClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("spans") / "out"
    ff.save_pretrained(ff.compile(model, FLOAT), place, tokenizer=word_tokenizer())
    return place


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[ff.Engine]:
    with ff.Engine.from_pretrained(folder, instances=2, threads=1) as opened:
        yield opened


def torch_logits(model: SpanClassifier) -> Any:
    rows = []
    for text, spans in zip(TEXTS, TOKEN_SPANS, strict=True):
        encoded = word_tokenizer().encode(text.text, text.text_pair)
        ids, types = torch.tensor([encoded.ids]), torch.tensor([encoded.type_ids])
        with torch.no_grad():
            rows.append(model(input_ids=ids, token_type_ids=types, spans=torch.tensor([spans])).logits[0])
    return torch.stack(rows).numpy()


def test_logits_are_the_torch_models(engine: ff.Engine, model: SpanClassifier) -> None:
    # float32 sums in another order; the logits are about 1 to 10.
    np.testing.assert_allclose(engine.logits(TEXTS), torch_logits(model), rtol=1e-4, atol=1e-4)


def test_predictions_carry_the_models_labels(engine: ff.Engine, model: SpanClassifier) -> None:
    answers = engine.predict(TEXTS)
    assert engine.labels == LABELS
    assert [answer.label for answer in answers] == [LABELS[i] for i in torch_logits(model).argmax(1)]


def test_one_at_a_time_and_many_in_pieces_give_the_same_bits(engine: ff.Engine) -> None:
    together = engine.logits(TEXTS * 100)
    alone = np.stack([engine.submit(text, task="logits").result(timeout=60) for text in TEXTS])
    assert np.array_equal(together, np.tile(alone, (100, 1)))
    prediction = engine.submit(TEXTS[0]).result(timeout=60)
    assert isinstance(prediction, Prediction)
    assert prediction == engine.predict(TEXTS[:1])[0]


def test_no_texts_give_no_rows(engine: ff.Engine) -> None:
    assert engine.logits([]).shape == (0, 3)  # type: ignore[union-attr]


def test_another_arrangement_reads_spans_too(engine: ff.Engine) -> None:
    with engine.rearranged(engine.arrangement) as other:
        assert np.array_equal(other.logits(TEXTS), engine.logits(TEXTS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w1 w2", "text 1 is a str, and the model reads 2 marked spans"),
        (ff.SpanText("w1 w2", [(0, 2)]), "text 1 is 1 spans"),
        (ff.SpanText("w1 w2", [(0, 2), (2, 3)]), "no token for the span"),
        (ff.SpanText("w1 " * 20, [(0, 2), (57, 59)]), "text 1 loses a marked span when it is cut to 16"),
        (ff.SpanText("w1 " * 20, [(0, 2), (30, 59)]), "text 1 loses a marked span"),
    ],
)
def test_texts_without_their_spans_are_refused(engine: ff.Engine, text: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        engine.predict([TEXTS[0], text])


def test_a_long_text_that_keeps_its_spans_is_cut(folder: Path) -> None:
    long = ff.SpanText("w1 w2 " * 20, [(0, 2), (3, 5)])
    with ff.Engine.from_pretrained(folder, instances=1) as engine, pytest.warns(UserWarning, match="was cut"):
        assert np.isfinite(engine.logits([long])).all()


def test_reranking_and_embedding_are_refused(engine: ff.Engine) -> None:
    with pytest.raises(UnsupportedModelError, match="marked spans"):
        engine.rerank("w1", ["w2"])
    with pytest.raises(UnsupportedModelError, match="embedding"):
        engine.embed(TEXTS)


def test_a_model_without_spans_refuses_them(make_engine: Any) -> None:
    with pytest.raises(ShapeError, match="reads no spans"):
        make_engine().predict([TEXTS[0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("w1", [(0, 3)]), "span 0, .0, 3., is not a range of its text of 2 characters"),
        (("w1", [(1, 1)]), "span 0"),
        (("w1", [(-1, 1)]), "span 0"),
        (("w1", [0, 1]), "must be a list of pairs"),
        (("w1", [(0.0, 1.0)]), "must be a list of pairs"),
        ((b"w1", [(0, 1)]), "text of a SpanText is bytes"),
        (("w1", [(0, 1)], 3), "text_pair of a SpanText is int"),
        (("w1", [(0, 1)], "w2"), "span_texts is None, must name the text of each of the 1 spans: 0 or 1"),
        (("w1", [(0, 1)], None, (1,)), "span_texts is"),
        (("w1", [(0, 1)], "w2", (0, 1)), "span_texts is"),
    ],
)
def test_wrong_spans_are_refused_where_they_are_written(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        ff.SpanText(*arguments)
