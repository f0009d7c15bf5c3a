# SPDX-License-Identifier: MIT
"""``predict`` answers alike whatever kind of folder holds the model: stock, trained by us, INT8 in torch, compiled."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification

import fastformers as ff
from fastformers.answers import Prediction
from fastformers.errors import ConfigError, NonFiniteError, ShapeError, UnsupportedModelError
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.recipes.compile_folder import compile_folder
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.tasks import TaskFile, get_task
from fastformers.tasks.custom import task_with_labels

NAMES = ("bad", "fair", "good")
TEXTS = ["the cat sat", ("the dog ran", "on the mat"), "the river " * 40]
FLOAT = ff.CompileConfig(int8=None)
#: The same float32 products, summed in another order: measured up to 8e-7. Cut elsewhere, a text changed by 8e-4. The
#: bound lies between: twelve times the rounding, for other processors' orders, and an eightieth of the fault.
CLOSE = 1e-5


def classifier(checkpoint: Path, **config: Any) -> BertForSequenceClassification:
    """With weights that give clearly different answers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification.from_pretrained(checkpoint, **config).eval()
        with torch.no_grad():
            model.classifier.weight.normal_()
    return model


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> BertForSequenceClassification:
    return classifier(tiny_checkpoint, id2label=dict(enumerate(NAMES)), num_labels=3)


def assert_alike(found: list[Prediction], wanted: list[Prediction]) -> None:
    assert [answer.label for answer in found] == [answer.label for answer in wanted]
    np.testing.assert_allclose(
        [answer.score for answer in found], [answer.score for answer in wanted], rtol=0, atol=CLOSE
    )


def expected(model: Any, tokenizer: Any, text: Any, longest: int) -> Prediction:
    both = (text,) if isinstance(text, str) else text
    batch = tokenizer(*both, return_tensors="pt", truncation=True, max_length=longest)
    with torch.no_grad():
        chances = torch.softmax(model(**batch).logits[0], 0)
    return Prediction(NAMES[int(chances.argmax())], float(chances.max()))


@pytest.mark.parametrize("kind", ["stock", "ours", "compiled"])
def test_each_kind_of_folder_gives_the_models_answers(
    kind: str, tmp_path: Path, model: BertForSequenceClassification, tokenizer: Any
) -> None:
    longest = 32 if kind == "stock" else 12
    if kind == "stock":
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
    else:
        ours = tmp_path / ("model" if kind == "ours" else "ours")
        save_model(model, ours, tokenizer, TaskFile(task_with_labels(NAMES), longest))
        if kind == "compiled":
            compile_folder(ours, tmp_path / "model", FLOAT)
    with pytest.warns(UserWarning, match="was cut"):
        found = ff.predict(tmp_path / "model", TEXTS)
    wanted = [expected(model, tokenizer, text, longest) for text in TEXTS]
    assert_alike(found, wanted)
    assert ff.predict(tmp_path / "model", []) == []


@pytest.mark.filterwarnings("ignore:a text of more than")
@pytest.mark.parametrize("strategy", ["only_first", "only_second"])
def test_pairs_are_cut_longest_first_whatever_call_was_the_last_before_the_tokenizer_was_saved(
    strategy: str, tmp_path: Path, model: BertForSequenceClassification, tokenizer: Any
) -> None:
    called = copy.deepcopy(tokenizer)
    called("the cat " * 9, "the dog " * 9, truncation=strategy, max_length=25)
    model.save_pretrained(tmp_path / "torch")
    called.save_pretrained(tmp_path / "torch")
    compile_folder(tmp_path / "torch", tmp_path / "fast", ff.CompileConfig(int8=None, attention="float32"))
    pairs = [("the cat " * 6, "on the mat " * 12), ("the river " * 20, "bank " * 8)]
    wanted = [expected(model, tokenizer, pair, 32) for pair in pairs]
    for name in ("torch", "fast"):
        assert_alike(ff.predict(tmp_path / name, pairs), wanted)


@pytest.mark.filterwarnings("ignore:a text of more than")
def test_a_task_of_longer_texts_than_the_model_takes_is_cut_to_those(
    tmp_path: Path, model: BertForSequenceClassification, tokenizer: Any
) -> None:
    model.save_pretrained(tmp_path / "torch")
    tokenizer.save_pretrained(tmp_path / "torch")
    TaskFile(task_with_labels(NAMES), 256).save(tmp_path / "torch")
    compile_folder(tmp_path / "torch", tmp_path / "fast", FLOAT)
    slow, fast = (ff.predict(tmp_path / name, TEXTS) for name in ("torch", "fast"))
    assert_alike(fast, slow)


def test_each_of_several_labels_has_its_own_probability(
    tmp_path: Path, tiny_checkpoint: Path, tokenizer: Any
) -> None:
    many = classifier(
        tiny_checkpoint, id2label=dict(enumerate(NAMES)), problem_type="multi_label_classification"
    )
    save_model(many, tmp_path / "torch", tokenizer, None)
    save_model(ff.compile(many, FLOAT), tmp_path / "fast", tokenizer, None)
    slow, fast = (ff.predict(tmp_path / name, TEXTS[:2]) for name in ("torch", "fast"))
    with torch.no_grad():
        logits = many(**tokenizer(TEXTS[0], return_tensors="pt")).logits[0]
    assert slow[0] == (NAMES[int(logits.argmax())], pytest.approx(float(logits.max().sigmoid()), abs=CLOSE))
    assert [answer.label for answer in fast] == [answer.label for answer in slow]


def test_a_model_that_predicts_numbers_gives_the_number(
    tmp_path: Path, tiny_checkpoint: Path, tokenizer: Any
) -> None:
    single = classifier(tiny_checkpoint, num_labels=1)
    save_model(single, tmp_path / "model", tokenizer, TaskFile(task_with_labels(()), 16))
    (answer,) = ff.predict(tmp_path / "model", ["the cat"])
    with torch.no_grad():
        number = float(single(**tokenizer("the cat", return_tensors="pt")).logits)
    assert answer.score == pytest.approx(number, abs=CLOSE)


def test_marked_spans_are_read_compiled_or_not(tmp_path: Path, tiny_checkpoint: Path, tokenizer: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spans = SpanClassifier(AutoModel.from_pretrained(tiny_checkpoint), 2, 2, dropout=0.1).eval()
    task_file = TaskFile(get_task("wsc"), 32)
    save_model(spans, tmp_path / "torch", tokenizer, task_file)
    save_model(ff.compile(spans, FLOAT), tmp_path / "fast", tokenizer, task_file)
    texts = [
        ff.SpanText("the cat sat on the mat", [(4, 7), (19, 22)]),
        ff.SpanText("dog ran", [(0, 3), (4, 7)]),
    ]
    slow, fast = (ff.predict(tmp_path / name, texts) for name in ("torch", "fast"))
    assert_alike(fast, slow)
    with pytest.raises(ShapeError, match="SpanText"):
        ff.predict(tmp_path / "torch", ["the cat"])


@pytest.mark.parametrize("compiled", [False, True])
def test_texts_in_a_form_that_the_model_did_not_learn_are_refused(
    compiled: bool, tmp_path: Path, model: BertForSequenceClassification, tokenizer: Any
) -> None:
    pair = ("the dog ran", "on the mat")
    for name, pairs in (("pairs", True), ("single", False), ("both", None)):
        save_model(model, tmp_path / name, tokenizer, TaskFile(task_with_labels(NAMES), 32, pairs=pairs))
        if compiled:
            compile_folder(tmp_path / name, tmp_path / name, FLOAT, overwrite=True)
    with pytest.raises(ConfigError, match="learned from pairs of texts, and text 1 has no second one"):
        ff.predict(tmp_path / "pairs", [pair, "the cat sat"])
    with pytest.raises(ConfigError, match="learned from single texts, and text 0 is a pair"):
        ff.predict(tmp_path / "single", [pair, "the cat sat"])
    with pytest.raises(ShapeError, match="text 1"):  # as an empty cell of a table comes
        ff.predict(tmp_path / "single", ["the cat sat", float("nan")])  # type: ignore[list-item]
    known = ff.predict(tmp_path / "both", [pair, "the cat sat"])
    assert_alike(ff.predict(tmp_path / "pairs", [pair]), known[:1])
    assert_alike(ff.predict(tmp_path / "single", ["the cat sat"]), known[1:])


def test_what_cannot_be_answered_is_refused(
    tmp_path: Path, tiny_checkpoint: Path, model: BertForSequenceClassification, tokenizer: Any
) -> None:
    with pytest.raises(UnsupportedModelError, match="no logits"):
        ff.predict(tiny_checkpoint, ["the cat"])
    with pytest.raises(ShapeError, match="texts is one string"):
        ff.predict(tiny_checkpoint, "the cat")
    with pytest.raises(ConfigError, match="is not a folder"):
        ff.predict(tmp_path / "absent", ["the cat"])
    save_model(model, tmp_path / "broken", tokenizer, None)
    broken = open_model(tmp_path / "broken")
    with torch.no_grad():
        broken.model.classifier.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    broken.model.save_pretrained(tmp_path / "nan")  # type: ignore[operator]
    tokenizer.save_pretrained(tmp_path / "nan")
    with pytest.raises(NonFiniteError, match="the answer to text 0 is nan"):
        ff.predict(tmp_path / "nan", ["the cat"])


@pytest.mark.parametrize("labels", [None, 3], ids=["no head", "a head of another width"])
@pytest.mark.parametrize("task", ["rte", "wic"])
def test_a_folder_without_the_tasks_head_is_refused_and_not_given_a_random_one(
    task: str, labels: int | None, tmp_path: Path, tiny_checkpoint: Path, model: Any, tokenizer: Any
) -> None:
    (AutoModel.from_pretrained(tiny_checkpoint) if labels is None else model).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    TaskFile(get_task(task), 32).save(tmp_path)
    with pytest.raises(
        UnsupportedModelError, match=f"no trained head for the task {task}: .* train it first"
    ):
        open_model(tmp_path)
