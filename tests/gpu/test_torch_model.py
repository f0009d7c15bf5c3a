# SPDX-License-Identifier: MIT
"""``ff.TorchModel`` on a CPU: the same answers in whatever batches, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers.errors import ConfigError, DeviceError, ShapeError, UnsupportedModelError
from fastformers.gpu import torch_model
from fastformers.gpu.devices import check_cuda
from fastformers.gpu.text_batches import TextBatches, batches_of, takes_attended_keys
from fastformers.tokenization import TruncationWarning

Make = Callable[..., Any]

#: float32 sums in another order, through three layers.
SAME = {"rtol": 1e-4, "atol": 1e-4}
PADDINGS = ("buckets", "longest", "fixed")
NO_GPU = not torch.cuda.is_available()


def alone(model: Any, tokenizer: Any, text: Any) -> Any:
    """Logits of one text without padding, as transformers computes them."""
    pair = text if isinstance(text, tuple) else (text,)
    inputs = tokenizer(*pair, return_tensors="pt")
    if "token_type_ids" in inputs and getattr(model.config, "type_vocab_size", 0) < 2:
        del inputs["token_type_ids"]
    with torch.inference_mode():
        return model(**inputs).logits[0].numpy()


@pytest.mark.parametrize("padding", PADDINGS)
def test_answers_are_those_of_each_text_alone(
    family: str, padding: Any, make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    model = make_model(family, "classification")
    found = ff.TorchModel(model, tokenizer, ff.TorchConfig(batch_size=5, padding=padding)).logits(texts)
    expected = np.stack([alone(model, tokenizer, text) for text in texts])
    np.testing.assert_allclose(found, expected, **SAME)


def test_answers_in_half_are_those_of_each_text_alone(
    family: str, make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    half = ff.to_fp16(make_model(family, "classification"))
    found = ff.TorchModel(half, tokenizer, ff.TorchConfig(batch_size=5)).logits(texts)
    expected = np.stack([alone(half, tokenizer, text) for text in texts])
    # Half's sums in another order: a few units in the last of 11 bits, of values up to 5.
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_labels_of_tokens_come_without_padding(make_model: Make, tokenizer: Any, texts: list[Any]) -> None:
    model = make_model("bert", "tokens")
    found = ff.TorchModel(model, tokenizer, ff.TorchConfig(batch_size=4)).logits(texts)
    assert isinstance(found, list)
    for row, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(row, alone(model, tokenizer, text), **SAME)


def test_texts_with_spans_are_answered(span_classifier: Any, tokenizer: Any) -> None:
    texts = [
        ff.SpanText("the cat sat on the bank", [(4, 7), (19, 23)]),
        ff.SpanText("money bank river", [(0, 5), (6, 10)]),
    ]
    model = ff.TorchModel(span_classifier, tokenizer, ff.TorchConfig(batch_size=2))
    together, each = model.logits(texts), [model.logits([text]) for text in texts]
    np.testing.assert_allclose(together, np.concatenate(each), **SAME)
    with pytest.raises(ShapeError, match="SpanText"):
        model.logits(["the cat"])


def test_several_blocks_of_batches_keep_the_order(make_model: Make, tokenizer: Any, texts: list[Any]) -> None:
    model = ff.TorchModel(make_model("bert", "classification"), tokenizer, ff.TorchConfig(batch_size=1))
    found = np.asarray(model.logits(texts * 3))  # 33 batches, in blocks of 16
    np.testing.assert_array_equal(found[: len(texts)], found[-len(texts) :])
    np.testing.assert_array_equal(found[:1], model.logits(texts[:1]))


def test_token_ids_can_be_given(make_model: Make, tokenizer: Any, texts: list[Any]) -> None:
    model = ff.TorchModel(make_model("bert", "classification"), tokenizer, ff.TorchConfig(batch_size=5))
    np.testing.assert_array_equal(model.logits_of_tokens(model.encode(texts)), model.logits(texts))


def test_labels_have_their_names(make_model: Make, tokenizer: Any, texts: list[Any]) -> None:
    base = make_model("bert", "classification")
    base.config.id2label = {place: f"label {place}" for place in range(5)}
    model = ff.TorchModel(base, tokenizer)
    logits = np.asarray(model.logits(texts))
    found = model.predict(texts)
    assert [each.label for each in found] == [f"label {place}" for place in logits.argmax(1)]
    assert model.predict([]) == []


def test_batches_hold_each_text_once_and_no_longer_text() -> None:
    lengths = [3, 20, 9, 64, 1, 33]
    for padding in PADDINGS:
        config = ff.TorchConfig(batch_size=4, padding=padding)
        batches = batches_of(lengths, config, longest=64)
        assert sorted(place for batch in batches for place in batch.texts) == list(range(6))
        assert all(max(lengths[place] for place in batch.texts) <= batch.length for batch in batches)
        assert all(batch.length % 8 == 0 for batch in batches)


def test_padding_modes_differ_in_what_they_compute() -> None:
    lengths = [8, 64, 8, 64]

    def computed(padding: Any) -> int:
        batches = batches_of(lengths, ff.TorchConfig(batch_size=2, padding=padding), longest=128)
        return sum(len(batch.texts) * batch.length for batch in batches)

    assert [computed(padding) for padding in PADDINGS] == [144, 256, 512]


def test_batches_end_where_lengths_fall_unless_they_are_recorded() -> None:
    lengths = [100] * 3 + [79] * 2 + [70] * 4
    plain = batches_of(lengths, ff.TorchConfig(batch_size=8), longest=128)
    assert [(len(batch.texts), batch.length) for batch in plain] == [(3, 104), (6, 80)]
    recorded = batches_of(lengths, ff.TorchConfig(batch_size=8, cuda_graphs=True), longest=128)
    assert [len(batch.texts) for batch in recorded] == [8, 1]


def test_small_batches_are_not_cut_below_an_eighth() -> None:
    lengths = [100, 50, 49, 48, 10, 10]
    batches = batches_of(lengths, ff.TorchConfig(batch_size=32), longest=128)
    assert [len(batch.texts) for batch in batches] == [4, 2]


def test_no_batch_is_longer_than_the_model_takes() -> None:
    assert batches_of([30], ff.TorchConfig(length_step=32), longest=30)[0].length == 30


def test_the_share_of_padding_is_told(make_model: Make, tokenizer: Any) -> None:
    model = ff.TorchModel(
        make_model("bert", "classification"), tokenizer, ff.TorchConfig(padding="fixed", max_length=12)
    )
    assert model.padding_share(["cat"]) == pytest.approx(1 - 3 / 12)
    assert model.padding_share([]) == 0


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_a_mask_of_keys_gives_the_same_answers(family: str, make_model: Make) -> None:
    half = ff.to_fp16(make_model(family, "base"))
    assert takes_attended_keys(half)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 1, 1]])
    plain = half(input_ids=ids, attention_mask=mask).last_hidden_state
    keys = half(input_ids=ids, attention_mask=mask.bool()[:, None, None]).last_hidden_state
    assert torch.equal(keys[mask.bool()], plain[mask.bool()])


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "mpnet", "roberta"])
def test_nothing_is_looked_at_on_the_gpu_where_no_token_is_padding(
    family: str, make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    half = ff.to_fp16(make_model(family, "classification"))
    given: list[dict[str, Any]] = []
    half.register_forward_pre_hook(lambda _module, _args, named: given.append(named), with_kwargs=True)
    found = ff.TorchModel(half, tokenizer, ff.TorchConfig(length_step=1)).logits(texts[3:4])
    assert "attention_mask" not in given[0]
    np.testing.assert_allclose(found[0], alone(half, tokenizer, texts[3]), atol=0.05)  # half, values up to 5


def test_batches_go_to_a_gpu_without_waiting(
    make_model: Make, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = TextBatches(make_model("bert", "classification"), tokenizer)
    sent: list[tuple[torch.device, bool]] = []

    class Array:
        def pin_memory(self) -> SimpleNamespace:
            return SimpleNamespace(to=lambda device, non_blocking: sent.append((device, non_blocking)))

    monkeypatch.setattr(torch, "from_numpy", lambda _: Array())
    batches.tensors(batches.encode(["the cat"]), 8, torch.device("cuda"))
    assert set(sent) == {(torch.device("cuda"), True)}


def test_models_that_make_masks_of_masks_get_plain_ones(make_model: Make) -> None:
    assert not takes_attended_keys(ff.to_fp16(make_model("modernbert", "base")))
    assert not takes_attended_keys(make_model("mpnet", "base"))


def test_the_model_is_compiled_once_for_all_shapes(
    make_model: Make, tokenizer: Any, texts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = ff.to_fp16(make_model("bert", "classification"))
    asked: list[dict[str, Any]] = []

    def compile(model: Any, **options: Any) -> Any:
        asked.append(options)
        return lambda **inputs: SimpleNamespace(logits=model(**inputs).logits + 1)

    monkeypatch.setattr(torch, "compile", compile)
    plain = ff.TorchModel(half, tokenizer, ff.TorchConfig(batch_size=5)).logits(texts)
    compiled = ff.TorchModel(half, tokenizer, ff.TorchConfig(batch_size=5, compile=True)).logits(texts)
    np.testing.assert_array_equal(compiled, np.asarray(plain) + 1)
    assert asked == [{"dynamic": True}]


def test_recorded_batches_are_full_and_have_masks_of_keys(
    make_model: Make, tokenizer: Any, texts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()

    class Unrecorded:
        """Calls the model as recording does, without a GPU."""

        def __init__(self, model: Any) -> None:
            self._model = model

        def __call__(self, **inputs: Any) -> Any:
            shapes.add((tuple(inputs["input_ids"].shape), tuple(inputs["attention_mask"].shape)))
            assert inputs["attention_mask"].dtype == torch.bool
            return self._model(**inputs).logits

    monkeypatch.setattr(torch_model, "GraphedModel", Unrecorded)
    half = ff.to_fp16(make_model("bert", "classification"))
    plain = ff.TorchModel(half, tokenizer, ff.TorchConfig(batch_size=8)).logits(texts)
    config = ff.TorchConfig(batch_size=8, cuda_graphs=True, length_step=24)
    recorded = ff.TorchModel(half, tokenizer, config).logits(texts)
    assert shapes == {((8, 24), (8, 1, 1, 24))}
    np.testing.assert_allclose(recorded, plain, atol=0.05)  # half, values up to 5, sums of another shape


def test_memory_is_at_least_that_of_the_weights(make_model: Make, tokenizer: Any) -> None:
    model = make_model("bert", "classification")
    in_float, in_half = (ff.TorchModel(each, tokenizer).memory_bytes for each in (model, ff.to_fp16(model)))
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert in_float >= 4 * weights
    assert in_half < in_float


def test_cutting_is_told(make_model: Make, tokenizer: Any) -> None:
    model = ff.TorchModel(make_model("bert", "classification"), tokenizer, ff.TorchConfig(max_length=4))
    with pytest.warns(TruncationWarning, match="more than 4 tokens"):
        model.logits(["the cat sat on"])


def test_a_model_in_training_is_refused(make_model: Make, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.eval\(\)"):
        ff.TorchModel(make_model("bert", "classification").train(), tokenizer)


def test_more_tokens_than_the_model_takes_are_refused(make_model: Make, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="the model takes 24 tokens"):
        ff.TorchModel(make_model("bert", "classification"), tokenizer, ff.TorchConfig(max_length=25))


def test_positions_that_padding_takes_are_not_counted(make_model: Make, tokenizer: Any) -> None:
    from copy import deepcopy

    longer = deepcopy(tokenizer)
    longer.model_max_length = 10**30
    assert ff.TorchModel(make_model("roberta", "classification"), longer).max_length == 40
    assert ff.TorchModel(make_model("bert", "classification"), longer).max_length == 42


def test_models_without_logits_are_refused(make_model: Make, tokenizer: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="no logits"):
        ff.TorchModel(make_model("bert", "base"), tokenizer).logits(["the cat"])
    with pytest.raises(UnsupportedModelError, match="each token"):
        ff.TorchModel(make_model("bert", "tokens"), tokenizer).predict(["the cat"])


def test_graphs_need_a_gpu_and_a_model_that_does_not_wait(make_model: Make, tokenizer: Any) -> None:
    config = ff.TorchConfig(cuda_graphs=True)
    with pytest.raises(DeviceError, match="on a GPU"):
        ff.TorchModel(ff.to_fp16(make_model("bert", "classification")), tokenizer, config)
    with pytest.raises(UnsupportedModelError, match="cannot be recorded"):
        ff.TorchModel(ff.to_fp16(make_model("modernbert", "classification")), tokenizer, config)


@pytest.mark.skipif(not NO_GPU, reason="torch sees a GPU here")
def test_without_a_gpu_it_is_said_what_is_missing() -> None:
    with pytest.raises(DeviceError, match=r"built without CUDA|sees no GPU"):
        check_cuda()


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": 0},
        {"padding": "none"},
        {"length_step": 0},
        {"max_length": 1},
        {"compile": 1},
        {"compile": True, "cuda_graphs": True},
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        ff.TorchConfig(**fields)


@pytest.mark.skipif(NO_GPU, reason="needs a GPU that torch can use")
@pytest.mark.parametrize("options", [{}, {"cuda_graphs": True, "length_step": 16}, {"compile": True}])
@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_on_a_gpu_the_answers_are_those_of_a_cpu(
    family: str, options: dict[str, Any], make_model: Make, tokenizer: Any, texts: list[Any]
) -> None:
    model = make_model(family, "classification")
    expected = ff.TorchModel(model, tokenizer, ff.TorchConfig(batch_size=5)).logits(texts)
    half = ff.to_fp16(model.cuda())
    on_gpu = ff.TorchModel(half, tokenizer, ff.TorchConfig(batch_size=5, **options))
    for _ in range(2):  # recorded, then replayed
        np.testing.assert_allclose(on_gpu.logits(texts), expected, atol=0.05)  # half, values up to 5
    assert on_gpu.memory_bytes > 0
