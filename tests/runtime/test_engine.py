# SPDX-License-Identifier: MIT
"""Answers: the same bits as the encoder alone gives, whatever the arrangement, in the order of the texts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from thread_calls import call_on_threads
from tokenizers.processors import TemplateProcessing

from fastformers.answers import Prediction, RankedDocument
from fastformers.benchmarking.random_encoder import random_plan, random_tensors, word_tokenizer
from fastformers.encoder_plan import EncoderPlan, HeadStep, OutputPlan
from fastformers.errors import ConfigError, FastformersError, ShapeError, UnsupportedModelError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact_folder import save_artefact
from fastformers.runtime.engine import Engine
from fastformers.tokenization import TruncationWarning

MakeEngine = Callable[..., Engine]

LABELS = ("low", "middle", "high")


def direct(native: NativeEncoder, text: str | tuple[str, str], output: str) -> NDArray[np.float32]:
    """One text's output computed alone, with one thread and without an engine."""
    tokenizer = word_tokenizer()
    encoded = tokenizer.encode(*text) if isinstance(text, tuple) else tokenizer.encode(text)
    ids, types = np.array(encoded.ids, np.int32), np.array(encoded.type_ids, np.int32)
    (array,) = native.forward(ids, types, np.array([0, len(ids)], np.int64), [output], threads=1)
    return array


@pytest.mark.parametrize(("instances", "threads"), [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("batch_tokens", [1, 200, 100000])
def test_answers_are_the_encoders_own_bits_in_order(
    make_engine: MakeEngine,
    native: NativeEncoder,
    texts: list[str],
    instances: int,
    threads: int,
    batch_tokens: int,
) -> None:
    engine = make_engine(instances=instances, threads=threads, batch_tokens=batch_tokens)
    expected = np.concatenate([direct(native, text, "embedding") for text in texts])
    assert np.array_equal(engine.embed(texts), expected)
    futures = [engine.submit(text, task="embed") for text in texts]
    assert np.array_equal(np.stack([future.result(timeout=60) for future in futures]), expected)


def test_logits_of_pairs_are_the_encoders_own(make_engine: MakeEngine, native: NativeEncoder) -> None:
    pairs = [("w1 w2", "w3"), ("", "w4"), ("w5", "")]
    expected = np.concatenate([direct(native, pair, "logits") for pair in pairs])
    engine = make_engine()
    assert np.array_equal(engine.logits([*pairs, "w1 w2"])[:3], expected)
    assert not np.array_equal(engine.logits([("w1", "w1")]), engine.logits(["w1 w1"]))


def test_predict_gives_the_labels_with_the_largest_softmax(make_engine: MakeEngine, texts: list[str]) -> None:
    engine = make_engine(labels=LABELS)
    logits = np.asarray(engine.logits(texts), np.float64)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = engine.predict(texts)
    assert [p.label for p in predictions] == [LABELS[i] for i in scores.argmax(axis=1)]
    # float32 softmax against float64 here: a few roundings below 1.2e-7 each.
    assert np.allclose([p.score for p in predictions], scores.max(axis=1), atol=1e-6)
    assert [engine.submit(text).result(timeout=60) for text in texts[:20]] == predictions[:20]


def test_labels_that_may_come_together_score_the_sigmoid_of_their_logit(
    make_engine: MakeEngine, texts: list[str]
) -> None:
    engine = make_engine(labels=LABELS, many_labels=True)
    logits = np.asarray(engine.logits(texts), np.float64)
    predictions = engine.predict(texts)
    assert [p.label for p in predictions] == [LABELS[i] for i in logits.argmax(axis=1)]
    # float32 sigmoid against float64 here: a few roundings below 1.2e-7 each.
    # A sigmoid by tanh rounds otherwise than one by exp, by some 1e-7 near 1.
    assert np.allclose([p.score for p in predictions], (1 / (1 + np.exp(-logits))).max(axis=1), atol=1e-6)
    assert [engine.submit(text).result(timeout=60) for text in texts[:20]] == predictions[:20]
    again = engine.rearranged(engine.arrangement)
    assert again.predict(texts[:20]) == predictions[:20]
    again.close()


def test_labels_that_are_not_named_are_numbered(make_engine: MakeEngine) -> None:
    assert make_engine().predict(["w1"])[0].label in ("LABEL_0", "LABEL_1", "LABEL_2")


def test_one_class_scores_its_logit(make_engine: MakeEngine) -> None:
    plan = random_plan(classes=1)
    engine = make_engine(NativeEncoder(plan.to_dict(), random_tensors(plan)), plan)
    assert engine.predict(["w1 w2"]) == [Prediction("LABEL_0", float(engine.logits(["w1 w2"])[0][0]))]


@pytest.mark.parametrize("classes", [1, 2])
def test_rerank_orders_pairs_by_the_model(make_engine: MakeEngine, texts: list[str], classes: int) -> None:
    plan = random_plan(classes=classes)
    engine = make_engine(NativeEncoder(plan.to_dict(), random_tensors(plan)), plan)
    logits = np.asarray(engine.logits([("w1 w2", doc) for doc in texts]), np.float64)
    expected = logits[:, 0] if classes == 1 else 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    ranking = engine.rerank("w1 w2", texts)
    assert sorted(doc for doc, _ in ranking) == list(range(len(texts)))
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)
    assert np.allclose([score for _, score in ranking], expected[[doc for doc, _ in ranking]], atol=1e-6)


def test_rerank_without_a_pair_classifier_compares_embeddings(make_engine: MakeEngine) -> None:
    engine = make_engine()  # three classes
    ranking = engine.rerank("w1 w2 w3", ["w9 w8", "w1 w2 w3", "w1 w2 w3"])
    assert ranking[:2] == [RankedDocument(1, ranking[0].score), RankedDocument(2, ranking[0].score)]
    assert ranking[0].score == pytest.approx(1, abs=1e-6)
    assert ranking[2].doc == 0


def test_no_texts_give_empty_answers_of_the_right_shape(make_engine: MakeEngine) -> None:
    engine = make_engine()
    assert engine.predict([]) == []
    assert np.shape(engine.logits([])) == (0, 3)
    assert engine.embed([]).shape == (0, 32)
    assert engine.embed([]).dtype == np.float32
    assert engine.rerank("w1", []) == []


def test_empty_text_is_its_special_tokens(make_engine: MakeEngine, native: NativeEncoder) -> None:
    assert np.array_equal(make_engine().embed([""]), direct(native, "", "embedding"))


def test_overlong_text_is_cut_and_told_once(make_engine: MakeEngine) -> None:
    engine = make_engine(max_length=10)
    words = [f"w{i}" for i in range(50)]
    with pytest.warns(TruncationWarning, match="more than 10 tokens") as told:
        cut = engine.embed([" ".join(words), " ".join(words)])
    assert len(told) == 1
    assert told[0].filename == __file__
    assert np.array_equal(cut[0], engine.embed([" ".join(words[:8])])[0])
    engine.embed([" ".join(words)])  # a second warning would be an error


def test_max_length_is_never_above_the_plans(make_engine: MakeEngine, plan: EncoderPlan) -> None:
    assert make_engine(max_length=100_000).max_length == plan.max_tokens
    assert make_engine().max_length == plan.max_tokens


def test_truncation_side_comes_from_the_tokenizer_and_padding_does_not(
    native: NativeEncoder, plan: EncoderPlan
) -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(300, direction="left")
    tokenizer.enable_padding(length=120)
    with Engine(native, plan, tokenizer, max_length=6) as engine, pytest.warns(TruncationWarning):
        cut = engine.embed(["w1 w2 w3 w4 w5 w6"])
    assert np.array_equal(cut, direct(native, "w3 w4 w5 w6", "embedding"))
    assert tokenizer.padding is not None  # the caller's tokenizer is as it was


@pytest.mark.parametrize("text", ["w1 w2 w3 w4 w5", ("w1 w2 w3 w4 w5", "w6")])
def test_text_that_the_tokenizers_strategy_cannot_cut_is_named(
    native: NativeEncoder, plan: EncoderPlan, text: str | tuple[str, str]
) -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(300, strategy="only_second")
    with Engine(native, plan, tokenizer, max_length=6) as engine:
        with pytest.raises(
            ShapeError, match=r"text 1 is refused .* cut to 6 tokens by 'only_second'.* shorten it"
        ):
            engine.embed(["w1", text])
        with pytest.raises(ShapeError, match="text 0 is refused"):
            engine.submit(text)
        assert engine.embed(["w1"]).shape == (1, 32)


def test_token_classifier_gives_logits_of_each_token(make_engine: MakeEngine, plan: EncoderPlan) -> None:
    output = OutputPlan(name="logits", rows="all", steps=plan.outputs[1].steps[1:])
    tagger = EncoderPlan(**{**vars(plan), "outputs": (output,)})
    engine = make_engine(NativeEncoder(tagger.to_dict(), random_tensors(tagger)), tagger, batch_tokens=7)
    texts = ["w1 w2 w3", "", "w4"]
    assert [array.shape for array in engine.logits(texts)] == [(5, 3), (2, 3), (3, 3)]
    assert np.array_equal(engine.submit("w4").result(timeout=60), engine.logits(["w4"])[0])
    assert engine.logits([]) == []
    with pytest.raises(UnsupportedModelError, match="use logits"):
        engine.predict(texts)
    with pytest.raises(UnsupportedModelError, match="embedding"):
        engine.embed(texts)
    with pytest.raises(UnsupportedModelError, match="1 or 2 classes"):
        engine.rerank("w1", texts)


def test_model_that_answers_questions_is_refused_with_the_way_out(make_engine: MakeEngine) -> None:
    outputs = tuple(
        OutputPlan(
            name=name, rows="all", steps=(HeadStep(linear=True, activation="none", norm=False, features=1),)
        )
        for name in ("start_logits", "end_logits")
    )
    reader = replace(random_plan(), outputs=outputs)
    engine = make_engine(NativeEncoder(reader.to_dict(), random_tensors(reader)), reader)
    for call in (engine.predict, engine.logits, engine.embed, engine.run):
        with pytest.raises(UnsupportedModelError, match=r"call the encoder of fastformers\.load\(folder\)"):
            call(["w1"])


@pytest.mark.parametrize("wrong", ["one", [b"bytes"], [("a", "b", "c")], [["a", "b"]], [None], [("a", 1)]])
def test_what_is_not_a_list_of_texts_is_refused(make_engine: MakeEngine, wrong: Any) -> None:
    engine = make_engine()
    with pytest.raises(ShapeError, match="expected"):
        engine.predict(wrong)
    assert len(engine.predict(["w1"])) == 1


def test_text_without_any_token_is_refused_by_its_place(native: NativeEncoder, plan: EncoderPlan) -> None:
    tokenizer = word_tokenizer()
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    with Engine(native, plan, tokenizer) as engine, pytest.raises(ShapeError, match="text 1, '', has no tok"):
        engine.predict(["w1", ""])


def test_id_beyond_the_vocabulary_is_refused(native: NativeEncoder, plan: EncoderPlan) -> None:
    with Engine(native, plan, word_tokenizer(300)) as engine:
        with pytest.raises(ShapeError, match="250"):
            engine.predict(["w246"])
        with pytest.raises(ShapeError, match="250"):
            engine.submit("w246")
        assert engine.submit("w1").result(timeout=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instances": 0}, "instances is 0"),
        ({"threads": "many"}, "threads is 'many'"),
        ({"threads": True}, "threads is True"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
        ({"queue": 0}, "queue is 0"),
        ({"queue": 10**30}, "queue is 10+; allowed: a whole number from 1 to"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": "64"}, "max_length is '64'"),
        ({"pin": "no"}, "pin is .no."),
        ({"labels": ["a", "b"]}, "2 labels for a model with 3 classes"),
        ({"max_length": 2}, "max_length is 2"),
    ],
)
def test_wrong_options_are_refused(make_engine: MakeEngine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_engine(**options)


@pytest.mark.parametrize(
    "texts", [None, np.array(["w1", "w2"]), (text for text in ("w1",)), {"w1"}, {"w1": 1}]
)
@pytest.mark.parametrize("call", ["predict", "logits", "embed"])
def test_what_is_no_list_of_texts_is_refused_with_the_way_out(
    make_engine: MakeEngine, texts: Any, call: str
) -> None:
    with pytest.raises(ShapeError, match=r"expected a list: pass list\(texts\)"):
        getattr(make_engine(), call)(texts)


def test_unknown_task_and_wrong_deadline_are_refused(make_engine: MakeEngine) -> None:
    engine = make_engine()
    with pytest.raises(ConfigError, match="task is 'translate'"):
        engine.submit("w1", task="translate")  # type: ignore[arg-type]
    for deadline in (-1, float("nan"), "5", [5]):
        with pytest.raises(ConfigError, match="deadline_ms"):
            engine.submit("w1", deadline_ms=deadline)  # type: ignore[arg-type]


def test_many_threads_get_their_own_answers(make_engine: MakeEngine, texts: list[str]) -> None:
    engine = make_engine(instances=2)
    expected = engine.embed(texts)
    wrong: list[int] = []

    def call(index: int) -> None:
        for start in range(index, 120, 7):
            part = slice(start, start + 1 + start % 9)
            got = engine.embed(texts[part])
            one = engine.submit(texts[start], task="embed").result(timeout=60)
            if not (np.array_equal(got, expected[part]) and np.array_equal(one, expected[start])):
                wrong.append(start)

    call_on_threads(call, 6)
    assert wrong == []


def test_threads_that_the_system_does_not_give_are_named(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("Resource temporarily unavailable")

    monkeypatch.setattr("fastformers.runtime.engine.InstancePool", no_thread)
    with pytest.raises(FastformersError, match=r"gives no 3 x 2 threads .*choose fewer"):
        make_engine(instances=3, threads=2)


def test_two_engines_share_an_encoder(make_engine: MakeEngine, texts: list[str]) -> None:
    first, second = make_engine(instances=2), make_engine(instances=1)
    assert np.array_equal(first.embed(texts), second.embed(texts))
    first.close()
    assert len(second.predict(texts)) == len(texts)


def test_memory_is_one_copy_of_the_weights_and_workspace(
    make_engine: MakeEngine, native: NativeEncoder
) -> None:
    one, three = make_engine(instances=1).memory(), make_engine(instances=3).memory()
    assert one.weight_bytes == three.weight_bytes == native.weight_bytes > 0
    assert three.total_bytes == three.weight_bytes + three.workspace_bytes
    assert "3 instances" in str(three)
    assert "1 instance" in str(one)


def test_from_pretrained_takes_everything_from_the_folder(
    tmp_path: Path, native: NativeEncoder, plan: EncoderPlan, texts: list[str]
) -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(11, direction="left")
    config = {"model_type": "bert", "id2label": {str(i): name for i, name in enumerate(LABELS)}}
    folder = tmp_path / "model"
    save_artefact(folder, plan, random_tensors(plan), config=config, tokenizer=tokenizer)
    with Engine.from_pretrained(folder, instances=1, queue=5) as engine:
        assert engine.max_length == 11
        assert engine.labels == LABELS
        short = [text for text in texts if len(text.split()) < 9]
        assert np.array_equal(
            engine.embed(short), np.concatenate([direct(native, t, "embedding") for t in short])
        )
        assert engine.predict(["w1"])[0].label in LABELS


def test_folder_without_a_tokenizer_is_refused(tmp_path: Path, plan: EncoderPlan) -> None:
    save_artefact(tmp_path / "model", plan, random_tensors(plan), config={"model_type": "bert"})
    with pytest.raises(ConfigError, match="without a tokenizer"):
        Engine.from_pretrained(tmp_path / "model")


def test_token_types_can_be_kept_from_the_model(make_engine: MakeEngine, native: NativeEncoder) -> None:
    told, untold = make_engine(), make_engine(token_types=False)
    assert np.array_equal(untold.embed([("w1", "w2")]), untold.embed(["w1 [SEP] w2"]))
    assert not np.array_equal(told.embed([("w1", "w2")]), untold.embed([("w1", "w2")]))


def test_engine_needs_no_torch() -> None:
    script = (
        "import sys, fastformers\n"
        "fastformers.Engine\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("text", ["w1 \ud800", ("w1", "\ud800")])
def test_a_text_that_is_not_unicode_is_named(make_engine: MakeEngine, text: Any) -> None:
    with pytest.raises(ShapeError, match="text 1 is not Unicode"):
        make_engine().logits(["w1", text])
