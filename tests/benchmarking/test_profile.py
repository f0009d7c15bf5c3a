# SPDX-License-Identifier: MIT
"""``ff.measure(profile=True)``: where the time goes, for which kinds of things, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastformers as ff
from fastformers.benchmarking.explain_work import work_of
from fastformers.benchmarking.measurement import Measurement
from fastformers.benchmarking.profile import EngineProfile, engine_profile
from fastformers.benchmarking.profiled_calls import profiled_calls
from fastformers.benchmarking.random_encoder import random_plan, random_tensors, random_texts, word_tokenizer
from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, FormatError, ShapeError
from fastformers.kernels import NativeEncoder

TEXTS = random_texts(12, 30, seed=1)
QUICK: dict[str, Any] = {"seconds": 0.03, "rounds": 3, "warmup": 0.0, "energy": "off"}
MATMULS = ("qkv", "attention", "output", "up", "down")


def engine_of(plan: EncoderPlan, threads: int = 1) -> ff.Engine:
    native = NativeEncoder(plan.to_dict(), random_tensors(plan))
    return ff.Engine(native, plan, word_tokenizer(), instances=1, threads=threads)


def profile_of(plan: EncoderPlan, threads: int = 1) -> EngineProfile:
    with engine_of(plan, threads) as engine:
        return engine_profile(engine.calls(), TEXTS, seconds=0.01)


def ragged(lengths: list[int]) -> tuple[Any, None, Any]:
    return np.full(sum(lengths), 5, np.int32), None, np.cumsum([0, *lengths])


@pytest.mark.parametrize("threads", [1, 2])
def test_operations_add_up_to_the_time_of_a_text(threads: int) -> None:
    found = profile_of(random_plan(layers=3), threads)
    # Sums of the same floats in another order.
    assert sum(each.share for each in found.operations) == pytest.approx(1.0, rel=1e-9)
    assert sum(each.milliseconds for each in found.operations) == pytest.approx(found.milliseconds, rel=1e-9)
    assert all(each.milliseconds > 0 for each in found.operations)


def test_every_layer_has_each_of_its_operations_once() -> None:
    found = profile_of(random_plan(layers=3))
    for layer in range(3):
        names = [each.name for each in found.operations if each.layer == layer]
        assert sorted(names) == sorted([*MATMULS, "norms"])
    outside = [each.name for each in found.operations if each.layer is None]
    assert outside == ["tokenizing", "call", "embedding", "heads"]


def test_work_is_that_of_explain() -> None:
    plan = random_plan(layers=2)
    found = profile_of(plan)
    lengths = [len(text.split()) + 2 for text in TEXTS]
    counted = {(work.layer, work.name): work.macs for work in work_of(plan, lengths, "auto")}
    for each in found.operations:
        if each.name in MATMULS:
            assert each.macs == counted[each.layer, each.name]
    # Nobody asked for the embedding; the logits have two matrices.
    heads = [each.macs for each in found.operations if each.name == "heads"]
    assert heads == [counted[None, "logits.0"] + counted[None, "logits.1"]]


def test_rates_and_percentages_follow_from_time_and_work() -> None:
    found = profile_of(random_plan())
    if found.ceilings.int8_gops is None:
        pytest.skip("this instruction set has no ceiling")
    up = next(each for each in found.operations if each.name == "up")
    assert up.macs is not None
    assert up.percent_of_limit is not None
    assert up.gmacs_per_second == pytest.approx(1e-6 * up.macs / up.milliseconds)  # the formula once more
    # up is INT8 in these models: two operations a multiply-accumulate, at the INT8 ceiling.
    limit = 2 * up.macs / (found.ceilings.int8_gops * 1e9)
    assert up.percent_of_limit == pytest.approx(100 * 1e3 * limit / up.milliseconds)


def test_a_model_that_reads_first_tokens_only_has_all_of_its_last_layer() -> None:
    plan = random_plan(layers=2)
    plan = EncoderPlan.from_dict({**plan.to_dict(), "outputs": [plan.to_dict()["outputs"][1]]})
    found = profile_of(plan)
    last = {each.name: each for each in found.operations if each.layer == 1}
    assert sorted(last) == sorted([*MATMULS, "norms"])
    first = next(each for each in found.operations if each.layer == 0 and each.name == "up")
    assert last["up"].macs is not None
    assert first.macs is not None
    assert last["up"].macs < first.macs


def test_noting_times_leaves_answers_as_they_are() -> None:
    plan = random_plan()
    native = NativeEncoder(plan.to_dict(), random_tensors(plan))
    batch = ragged([7, 20, 1])
    (before,) = native.forward(*batch, ["logits"], 2)
    native.profile(*batch, ["logits"], 2)
    (after,) = native.forward(*batch, ["logits"], 2)
    assert (before == after).all()


def test_an_empty_batch_takes_no_time_in_any_operation() -> None:
    plan = random_plan()
    found = NativeEncoder(plan.to_dict(), random_tensors(plan)).profile(*ragged([]), ["logits"])
    assert found["threads"] == 0
    assert found["seconds"].shape == (len(plan.layers) + 1, len(found["operations"]))
    assert not found["seconds"].any()


def test_bad_batches_are_refused_as_forward_does() -> None:
    plan = random_plan()
    native = NativeEncoder(plan.to_dict(), random_tensors(plan))
    with pytest.raises(ShapeError, match="outside the vocabulary"):
        native.profile(np.array([10_000], np.int32), None, np.array([0, 1]), ["logits"])


def test_an_encoder_says_which_matrices_are_int8() -> None:
    plan = random_plan(layers=1)
    native = NativeEncoder(plan.to_dict(), random_tensors(plan), attention="int8")
    assert native.int8_matrices == [f"layers.0.{name}" for name in ("qkv", "output", "up", "down")]
    assert native.attention == "int8"


def test_a_measurement_holds_the_profile_and_reads_it_back() -> None:
    with engine_of(random_plan()) as engine:
        found = ff.measure(engine, TEXTS, profile=True, **QUICK)
    assert found.profile is not None
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    text = str(found)
    assert "Where the time goes" in text
    assert "% of the limit" in text


def test_measurements_without_a_profile_are_still_read() -> None:
    found = ff.measure(len, TEXTS, **QUICK)
    old = found.to_dict()
    del old["profile"]
    assert Measurement.from_dict(old) == found


@pytest.mark.parametrize("damage", [{"operations": [{"name": "up"}]}, {"ceilings": {}}, {"more": 1}])
def test_a_damaged_profile_is_refused(damage: dict[str, Any]) -> None:
    content = profile_of(random_plan()).to_dict()
    with pytest.raises(FormatError, match="profile is damaged"):
        EngineProfile.from_dict({**content, **damage})


def test_a_callable_has_no_inside_to_look_into() -> None:
    with pytest.raises(ConfigError, match="run is a builtin_function_or_method: pass"):
        ff.measure(len, TEXTS, profile=True, **QUICK)


def test_compiled_encoders_and_their_folders_are_profiled(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compile needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="compile needs the torch extra")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(), pad_token="[PAD]", cls_token="[CLS]", model_max_length=64
    )
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    fast = ff.compile(model, ff.CompileConfig(int8=None))
    found = ff.measure(fast, TEXTS, tokenizer=tokenizer, profile=True, **QUICK)
    assert found.profile is not None
    assert {each.layer for each in found.profile.operations} == {None, 0, 1}
    with pytest.raises(ConfigError, match="pass tokenizer= too"):
        ff.measure(fast, TEXTS, profile=True, **QUICK)
    folder = tmp_path / "compiled"
    ff.save_pretrained(fast, folder, tokenizer=tokenizer)
    for given in (folder, str(folder)):
        again = ff.measure(given, TEXTS, profile=True, **QUICK)
        assert again.profile is not None
        assert {each.layer for each in again.profile.operations} == {None, 0, 1}
    with ff.Engine.from_pretrained(folder) as engine:
        served = engine.calls().encode(TEXTS)
    profiled = profiled_calls(fast, tokenizer).encode(TEXTS)
    assert (profiled.ids == served.ids).all()
    assert (profiled.types == served.types).all()
    assert (profiled.offsets == served.offsets).all()
