# SPDX-License-Identifier: MIT
"""What ``explain`` counts and says: against counts by hand, real plans, the executor's own constant and real models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fastformers import kernels
from fastformers.benchmarking.explain import Ceilings, Explanation, Unsupported, explain, measured_ceilings
from fastformers.benchmarking.explain_table import show_explanation, show_unsupported
from fastformers.benchmarking.explain_work import LEAST_INT8_TOKENS, Work, work_of
from fastformers.benchmarking.random_encoder import random_plan, random_tensors, word_tokenizer
from fastformers.encoder_plan import EncoderPlan, LayerPlan, OutputPlan
from fastformers.errors import ConfigError, FormatError
from fastformers.runtime.artefact_folder import save_artefact

torch = pytest.importorskip("torch", reason="models need the torch extra")
transformers = pytest.importorskip("transformers", reason="models need the torch extra")

CEILINGS = Ceilings("avx2", 1, 400.0, 100.0, "made up")
HIDDEN, HEADS, SIZE, FFN, TOKENS = 32, 2, 16, 64, 20


def plan_with(layer: LayerPlan, *, rows: Any = "all", layers: int = 1) -> EncoderPlan:
    plan = random_plan(layers=layers, hidden=HIDDEN, heads=HEADS, intermediate=FFN)
    return replace(plan, layers=(layer,) * layers, outputs=(OutputPlan(name="answer", rows=rows),))


LAYER = LayerPlan(heads=HEADS, head_size=SIZE, intermediate=FFN)


def by_name(work: list[Work], layer: int = 0) -> dict[str, Work]:
    return {each.name: each for each in work if each.layer == layer}


def test_macs_of_a_layer_are_those_of_its_matrices_and_products() -> None:
    work = by_name(work_of(plan_with(LAYER), [TOKENS], "auto"))
    assert {name: each.macs for name, each in work.items()} == {
        "qkv": TOKENS * 3 * HIDDEN * HIDDEN,
        "attention": 2 * HEADS * SIZE * TOKENS * TOKENS,
        "output": TOKENS * HIDDEN * HIDDEN,
        "up": TOKENS * HIDDEN * FFN,
        "down": TOKENS * HIDDEN * FFN,
    }


def test_figures_of_several_texts_are_their_mean() -> None:
    plan = plan_with(LAYER)
    short, long, both = (work_of(plan, lengths, "auto") for lengths in ([4], [40], [4, 40]))
    for low, high, mean in zip(short, long, both, strict=True):
        assert mean.macs == pytest.approx((low.macs + high.macs) / 2)
    assert by_name(short)["attention"].int8_share == 0
    assert by_name(long)["attention"].int8_share == 1
    assert by_name(both)["attention"].int8_share == pytest.approx(1600 / 1616)


def test_window_counts_the_keys_that_are_seen() -> None:
    window = 3
    seen = sum(abs(i - j) <= window for i in range(TOKENS) for j in range(TOKENS))
    work = by_name(work_of(plan_with(replace(LAYER, window=window)), [TOKENS], "auto"))
    assert work["attention"].macs == 2 * HEADS * SIZE * seen


def test_last_layer_of_a_first_token_model_counts_one_row() -> None:
    work = work_of(plan_with(LAYER, rows="first", layers=2), [TOKENS], "auto")
    first, last = by_name(work, 0), by_name(work, 1)
    for name in ("qkv", "output", "up", "down"):
        assert first[name].macs == TOKENS * last[name].macs
    assert last["attention"].macs == 2 * HEADS * HIDDEN * TOKENS  # scores and context over the layer's input
    assert last["attention"].int8_share == 0
    assert last["output"].note


def test_last_layer_with_rotation_keeps_its_keys() -> None:
    plan = plan_with(replace(LAYER, rope_base=1e4), rows="first")
    work = by_name(work_of(plan, [TOKENS], "auto"))
    assert work["qkv"].macs == TOKENS * 3 * HIDDEN * HIDDEN
    assert work["attention"].macs == 2 * HEADS * SIZE * TOKENS
    assert work["output"].macs == HIDDEN * HIDDEN


def test_layer_without_heads_or_ffn_has_no_such_work() -> None:
    plan = plan_with(replace(LAYER, heads=0))
    assert set(by_name(work_of(plan, [TOKENS], "auto"))) == {"up", "down"}
    plan = plan_with(replace(LAYER, intermediate=0))
    assert set(by_name(work_of(plan, [TOKENS], "auto"))) == {"qkv", "attention", "output"}


def test_least_length_of_int8_products_is_the_executors(repository: Path) -> None:
    source = (repository / "csrc" / "ops" / "head_attention.cc").read_text(encoding="utf-8")
    found = re.search(r"kMinInt8Tokens = (\d+);", source)
    assert found is not None
    assert int(found[1]) == LEAST_INT8_TOKENS


def test_ceilings_are_measured_for_the_instruction_set_in_use() -> None:
    with kernels.use_isa("reference"):
        found = measured_ceilings()
    assert (found.isa, found.int8_gops, found.float_gflops) == ("reference", None, None)
    if kernels.active_isa() != "reference":
        limits = measured_ceilings()
        assert limits.int8_gops is not None
        assert limits.float_gflops is not None
        # With AVX2 as many where one port multiplies integers: 39.0 and 39.6 on Zen 1, the noise of measuring between.
        least = 1.0 if limits.isa == "avx512vnni" else 0.8
        assert 0 < least * limits.float_gflops <= limits.int8_gops


# --- artefacts --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "encoder"
    plan = random_plan()
    save_artefact(folder, plan, random_tensors(plan), config={}, tokenizer=word_tokenizer())
    return folder


def test_artefact_is_explained_by_what_was_saved(artefact: Path) -> None:
    found = explain(artefact, length=TOKENS, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    assert found.kind == "artefact"
    assert [layer.index for layer in found.layers] == [0, 1]
    precision = {part.name: (part.precision, part.reason) for part in found.parts}
    assert precision["qkv"] == ("int8", "saved as INT8")
    assert precision["logits.0"] == ("float32", "head")
    assert found.held_bytes is not None
    assert found.held_bytes > found.table_bytes == 4 * 32 * (200 + 128 + 2)
    assert sum(part.share for part in found.parts) == pytest.approx(1)


def test_expected_time_is_work_over_ceilings(artefact: Path) -> None:
    found = explain(artefact, length=TOKENS, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    of = {part.name: part for part in found.parts}
    assert of["up"].microseconds == pytest.approx(2 * of["up"].macs / 400e9 * 1e6)
    assert of["logits.0"].microseconds == pytest.approx(2 * of["logits.0"].macs / 100e9 * 1e6)
    assert found.totals()["microseconds"] == pytest.approx(
        sum(part.microseconds or 0.0 for part in found.parts)
    )
    without = explain(artefact, ceilings=replace(CEILINGS, int8_gops=None))
    assert isinstance(without, Explanation)
    assert without.totals()["microseconds"] is None


def test_texts_are_tokenized_by_the_artefacts_tokenizer(artefact: Path) -> None:
    texts = ["w1", " ".join(["w2"] * 500)]
    found = explain(artefact, texts=texts, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    assert found.lengths == {"texts": 2, "shortest": 3, "mean": 65.5, "longest": 128}
    assert {part.precision for part in found.parts if part.name == "attention"} == {"mixed"}


def test_artefact_is_explained_without_torch(artefact: Path) -> None:
    script = (
        "import sys\n"
        "from fastformers.benchmarking.explain import explain\n"
        f"explain({str(artefact)!r}, texts=['w1 w2'])\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("length", [0, 129])
def test_length_that_the_model_does_not_take_is_refused(artefact: Path, length: int) -> None:
    with pytest.raises(ConfigError, match=f"length is {length}; allowed: 1 to 128"):
        explain(artefact, length=length, ceilings=CEILINGS)


def test_without_a_length_a_short_model_is_explained_at_its_limit_and_a_note_says_so(tmp_path: Path) -> None:
    plan = random_plan(max_tokens=32)
    save_artefact(tmp_path / "short", plan, random_tensors(plan), config={})
    found = explain(tmp_path / "short", ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    assert found.lengths["longest"] == 32
    assert found.notes == ("counted for 32 tokens, the model's limit, not for the usual 128",)


def test_both_texts_of_a_pair_count(artefact: Path) -> None:
    found = explain(artefact, texts=["w1", ("w1", "w2 w2")], ceilings=CEILINGS)
    assert found.lengths == {"texts": 2, "shortest": 3, "mean": 4.5, "longest": 6}


def test_length_beside_texts_is_refused(artefact: Path) -> None:
    with pytest.raises(ConfigError, match="length and texts exclude each other"):
        explain(artefact, length=TOKENS, texts=["w1"], ceilings=CEILINGS)


def test_no_texts_are_refused(artefact: Path) -> None:
    with pytest.raises(ConfigError, match="no texts"):
        explain(artefact, texts=[], ceilings=CEILINGS)


def test_artefact_without_a_tokenizer_takes_a_length_only(tmp_path: Path) -> None:
    plan = random_plan(layers=1)
    save_artefact(tmp_path / "bare", plan, random_tensors(plan), config={})
    with pytest.raises(ConfigError, match="without a tokenizer"):
        explain(tmp_path / "bare", texts=["w1"], ceilings=CEILINGS)
    assert isinstance(explain(tmp_path / "bare", ceilings=CEILINGS), Explanation)


# --- transformers models ----------------------------------------------------------------------------------------------


def saved_bert(folder: Path, **changes: Any) -> Path:
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=64,
        **changes,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_precisions_are_those_that_compile_chooses(tmp_path: Path) -> None:
    import fastformers as ff

    folder = saved_bert(tmp_path / "bert")
    found = explain(folder, length=TOKENS, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    compiled = ff.compile(model)
    names = {
        **{
            f"layers.{layer.index}.{part.name}": part
            for layer in found.layers
            for part in layer.parts
            if part.shape
        },
        **{f"outputs.{part.name}.linear": part for part in found.others},
    }
    assert len(names) == 2 * 4 + 2
    for name, part in names.items():
        weight = compiled.tensors[f"{name}.weight"]
        assert part.shape == weight.shape
        assert (part.precision == "int8") == (weight.dtype == np.int8), name
    assert all("include_head" in part.reason for part in found.others)


def test_model_with_int8_layers_is_explained_as_it_is(tmp_path: Path) -> None:
    import fastformers as ff

    model = transformers.BertForSequenceClassification.from_pretrained(saved_bert(tmp_path / "bert")).eval()
    ff.quantize_(model, ff.Int8Config(exclude=("*.intermediate.dense",), never_slower=False, equalize=False))
    ff.save_pretrained(model, tmp_path / "int8")
    found = explain(tmp_path / "int8", ceilings=CEILINGS, length=TOKENS)
    assert isinstance(found, Explanation)
    assert found.kind == "quantized transformers"
    of = {part.name: part for part in found.layers[1].parts}
    assert (of["down"].precision, of["down"].reason) == ("int8", "already INT8 in the model")
    assert of["up"].precision == "float32"
    assert "quantized already" in of["up"].reason


def test_sentence_folder_is_explained_as_compile_makes_it(tmp_path: Path) -> None:
    folder = saved_bert(tmp_path / "sentences", architectures=["BertForMaskedLM"])
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    found = explain(folder, length=TOKENS, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    assert found.outputs == {"embedding": "first"}
    assert any("modules.json of the folder says" in note for note in found.notes)


def test_span_classifier_is_explained(tmp_path: Path) -> None:
    import fastformers as ff
    from fastformers.modules.span_classifier import SpanClassifier

    encoder = transformers.BertModel.from_pretrained(saved_bert(tmp_path / "bert"))
    ff.save_pretrained(SpanClassifier(encoder, 2, 3, dropout=0.1).eval(), tmp_path / "spans")
    found = explain(tmp_path / "spans", length=TOKENS, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    assert {part.precision for part in found.layers[0].parts} == {"int8"}


def test_model_that_is_not_covered_is_told_with_the_way_out(tmp_path: Path) -> None:
    folder = saved_bert(tmp_path / "decoder", is_decoder=True)
    found = explain(folder, ceilings=CEILINGS)
    assert isinstance(found, Unsupported)
    assert "decoder" in found.problem
    assert found.quantize is not None
    assert (found.quantize.linear_layers, found.quantize.int8_layers) == (14, 12)
    assert found.quantize.weight_share > 0.9
    assert "12 of its 14 linear layers INT8" in shown(found)


def test_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not hold a model"):
        explain(tmp_path, ceilings=CEILINGS)
    (tmp_path / "fastformers.json").write_text("{", encoding="utf-8")
    with pytest.raises(FormatError, match=r"fastformers\.json"):
        explain(tmp_path, ceilings=CEILINGS)


# --- printing ---------------------------------------------------------------------------------------------------------


def shown(found: Explanation | Unsupported, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w", encoding="utf-8"))
    with console.file:
        if isinstance(found, Explanation):
            show_explanation(console, found)
        else:
            show_unsupported(console, found)
        return " ".join(console.export_text().split())


def test_printed_table_holds_the_facts_and_joins_layers_that_are_alike(artefact: Path) -> None:
    found = explain(artefact, length=TOKENS, ceilings=CEILINGS)
    assert isinstance(found, Explanation)
    text = shown(found)
    assert "0-1: 2 x 16, FFN 64" in text
    assert "x 2" in text
    assert "96 x 32" in text
    assert "logits.0, logits.1: float32 by avx2 gemm_f32: head." in text
    assert "attention: int8 by avx2 attend_u8s8: auto: INT8 from 16 tokens on." in text
    assert "400 GOP/s INT8, 100 GFLOP/s float32 (made up)" in text
    assert "…" not in text
    assert json.loads(json.dumps(found.to_dict()))["totals"]["macs"] == found.totals()["macs"]
