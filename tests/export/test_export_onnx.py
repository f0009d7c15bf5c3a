# SPDX-License-Identifier: MIT
"""Exported graphs compute what the model computes, for every family, head, precision and shape, or are not written."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from padded_runs import logits_with_padding

import fastformers as ff
from fastformers.errors import ConfigError, FormatError, GateError, MissingExtraError, UnsupportedModelError
from fastformers.export.builder import GraphBuilder
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.linear_nodes import Linears, with_folded_factors
from fastformers.export.parity import compare, require_within
from fastformers.export.session import open_session, session_options
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.recipes import compiling
from fastformers.recipes.export_check import most_different

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MakeModel = Callable[..., Any]
try:
    ff.ort_library_path()
    PRECISIONS = ("fp16", "int8", "int8-fastformers")
except MissingExtraError:  # built without ONNX Runtime's headers
    PRECISIONS = ("fp16", "int8")


def test_every_family_and_head_is_exported_fused_and_exact(
    make_model: MakeModel, family: str, head: str, tmp_path: Path
) -> None:
    report = ff.export_onnx(make_model(family, head), tmp_path / "out", "fp32")
    assert report.checked
    assert all(numbers["max_abs"] < 1e-4 for numbers in report.checked.values())
    assert report.fused["attention"] == (3, 3)
    assert all(done == count for done, count in report.fused.values())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["bert", "electra", "mpnet", "modernbert"])
@pytest.mark.parametrize("kind", ["base", "classification"])
def test_other_precisions_stay_near(
    make_model: MakeModel, name: str, kind: str, precision: Any, tmp_path: Path
) -> None:
    report = ff.export_onnx(make_model(name, kind), tmp_path / "out", precision)
    assert report.checked
    # The models are random and small; on trained weights INT8 gives 0.999.
    assert all(numbers["cosine"] > 0.998 for numbers in report.checked.values())


def test_blocks_that_cannot_be_fused_are_refused_unless_allowed(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model, config = make_model("bert"), ff.CompileConfig(int8_embeddings=True)
    with pytest.raises(
        ConfigError, match=r"0 of 1 embeddings \+ LayerNorm can be written fused.*allow_partial=True"
    ):
        ff.export_onnx(model, tmp_path / "out", "fp16", config=config)
    assert not (tmp_path / "out").exists()
    report = ff.export_onnx(model, tmp_path / "out", "fp16", config=config, allow_partial=True)
    assert "1 of 1 embeddings + LayerNorm could not be written fused" in report.notes
    assert all(numbers["cosine"] > 0.999 for numbers in report.checked.values())  # as of 8-bit embeddings


def test_int8_graphs_hold_every_matrix_in_int8_and_the_factors_of_equalisation(
    tokenizer: Any, tmp_path: Path
) -> None:
    import onnx
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=90, pad_token_id=1, **sizes)).eval()
    texts = ["the cat sat on the mat", "who ran because the bank"] * 8
    report = ff.export_onnx(model, tmp_path / "out", "int8", tokenizer=tokenizer, texts=texts)
    # The models are random and small; on trained weights INT8 gives 0.999.
    assert all(numbers["cosine"] > 0.998 for numbers in report.checked.values())
    assert not any("stay float32" in note for note in report.notes)
    graph = onnx.load(tmp_path / "out" / "model-int8.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QAttention") == 2  # query, key and value inside
    assert kinds.count("MatMulIntegerToFloat") == 2 * 3  # output, up, down
    scaled = {value for node in graph.node if node.op_type == "Mul" for value in node.input}
    assert {f"layers.{n}.{part}.factors" for n in (0, 1) for part in ("qkv", "up", "down")} <= scaled


def test_matrices_that_stay_float32_in_an_int8_graph_are_told(make_model: MakeModel, tmp_path: Path) -> None:
    report = ff.export_onnx(make_model("bert"), tmp_path / "out", "int8")
    assert "6 of 12 weight matrices of the layers stay float32" in str(report)


@pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert"])
def test_pruned_shapes_are_ordinary(
    make_model: MakeModel, prune: Callable[..., None], name: str, tmp_path: Path
) -> None:
    model = make_model(name, "classification")
    if name != "mpnet":  # whose relative positions are shared by the layers
        prune(model, 0, heads=1)
        prune(model, 1, heads=0)
    prune(model, 1, ffn=7)
    prune(model, 2, ffn=0)
    report = ff.export_onnx(model, tmp_path / "out", "fp32")
    assert report.checked["logits"]["max_abs"] < 1e-4


@pytest.mark.parametrize("fill", ["zero", "-inf"])
@pytest.mark.parametrize("precision", ["fp32", *PRECISIONS])
def test_span_heads_are_in_the_graph(
    make_model: MakeModel, fill: Any, precision: Any, tmp_path: Path
) -> None:
    model = SpanClassifier(make_model("bert"), 2, 3, 0.0, fill).eval()
    report = ff.export_onnx(model, tmp_path / "out", precision)
    assert report.num_spans == 2
    assert report.checked["logits"]["max_abs"] < (1e-4 if precision == "fp32" else 0.05)
    ids = torch.randint(4, 90, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    spans = torch.tensor([[[0, 9], [3, 5]], [[1, 2], [2, 6]]])
    with ff.OrtModel(tmp_path / "out") as found, torch.no_grad():
        wanted = model(ids, mask, spans=spans).logits.numpy()
        logits = found.run(ids.numpy(), mask.numpy(), spans=spans.numpy())["logits"]
    # Spans that touch padding read it in torch; these do not.
    np.testing.assert_allclose(logits, wanted, atol=1e-5 if precision == "fp32" else 0.1)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
@pytest.mark.parametrize("precision", ["fp32", *PRECISIONS])
def test_pair_heads_are_in_the_graph(
    make_model: MakeModel, name: str, precision: Any, tmp_path: Path
) -> None:
    model = PairClassifier(make_model(name), 3, separator_id=3, first_id=2).eval()
    report = ff.export_onnx(model, tmp_path / "out", precision)
    assert report.only_pairs
    assert report.checked["logits"]["max_abs"] < (1e-4 if precision == "fp32" else 0.05)
    ids = torch.tensor(
        [[2, 7, 8, 3, 9, 10, 3], [2, 7, 3, 3, 11, 3, 0], [2, 7, 8, 9, 3, 0, 0]]
    )  # the last has no pair
    mask = (ids != 0).long()
    with ff.OrtModel(tmp_path / "out") as found, torch.no_grad():
        logits = found.run(ids.numpy(), mask.numpy())["logits"]
        wanted = model(ids, mask).logits.numpy()
    # Measured, of logits up to 4.9: 4.8e-7 in float32, 2.4e-4 in float16, 6.8e-3 in either INT8.
    np.testing.assert_allclose(logits, wanted, atol=1e-5 if precision == "fp32" else 0.05)
    assert wanted[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_sentence_embeddings_are_pooled_in_the_graph(
    make_model: MakeModel, pooling: Any, tmp_path: Path
) -> None:
    config = ff.CompileConfig(pooling=pooling, normalize=True)
    report = ff.export_onnx(make_model("mpnet"), tmp_path / "out", "fp32", config=config)
    (numbers,) = report.checked.values()
    assert numbers["max_abs"] < 1e-5
    with ff.OrtModel(tmp_path / "out") as model:
        (rows,) = model.run(np.full((2, 5), 7)).values()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "modernbert"])
def test_padding_on_either_side_changes_nothing(make_model: MakeModel, name: str, tmp_path: Path) -> None:
    ff.export_onnx(make_model(name, "classification"), tmp_path / "out", "fp32", check=False)
    alone, right, left = logits_with_padding(tmp_path / "out")
    # Sums over other numbers of zeros round differently.
    np.testing.assert_allclose(right, alone, atol=2e-6)
    np.testing.assert_allclose(left, alone, atol=2e-6)


@pytest.mark.parametrize(("equal_rows", "least", "most"), [((), 0.1, 10.0), ((".down",), 0.0, 0.01)])
def test_equal_ranges_for_all_rows_keep_small_rows_alive(
    equal_rows: tuple[str, ...], least: float, most: float
) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (24, 64)).astype(np.int8)
    tensors = {"layers.0.down.weight": weight, "layers.0.down.scale": np.full(24, 0.01, np.float32)}
    graph = GraphBuilder()
    x_name = graph.input("x", np.float32, ("rows", 64))
    graph.output("y", Linears(graph, tensors, equal_rows).product(x_name, "layers.0.down"), ("rows", 24))
    x = rng.standard_normal((3, 64)).astype(np.float32)
    x[1] *= 1000.0  # one row drowns the others where a tensor has one range
    x[2] = 0.0
    (found,) = open_session(graph.model({}).SerializeToString(), session_options(1)).run(None, {"x": x})
    wanted = x[0] @ weight.T * 0.01
    error = np.sqrt(np.mean((found[0] - wanted) ** 2) / np.mean(wanted**2))
    assert least < error < most
    assert not found[2].any()


def test_equal_rows_everywhere_compute_the_same_model(make_model: MakeModel) -> None:
    encoder = ff.compile(make_model("bert"))
    ids = np.random.default_rng(0).integers(4, 90, (2, 12))
    inputs = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    found = []
    for equal_rows in ((), (".down",), (".qkv", ".output", ".up", ".down")):
        graph = write_encoder(encoder.plan, encoder.tensors, equal_rows=equal_rows).model
        session = open_session(graph.SerializeToString(), session_options(1))
        found.append(session.run(["last_hidden_state"], inputs)[0])
    for other in found[1:]:
        assert np.abs(other - found[0]).max() < 0.2  # 8-bit noise of three layers; outputs are of order 1


def test_factors_of_the_output_projection_move_into_the_values() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "layers.0.qkv.weight": rng.integers(-127, 128, (12, 5)).astype(np.int8),
        "layers.0.qkv.scale": rng.random(12).astype(np.float32),
        "layers.0.qkv.bias": rng.random(12).astype(np.float32),
        "layers.0.output.factors": np.array([1.0, 2.0, 3.0, 4.0], np.float32),
    }
    folded = with_folded_factors(tensors, [4])
    gain = np.array([1] * 8 + [1, 2, 3, 4], np.float32)
    assert "layers.0.output.factors" not in folded
    np.testing.assert_array_equal(folded["layers.0.qkv.scale"], tensors["layers.0.qkv.scale"] * gain)
    np.testing.assert_array_equal(folded["layers.0.qkv.bias"], tensors["layers.0.qkv.bias"] * gain)


def test_a_graph_that_differs_is_not_written_and_the_layer_is_named(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, compile = make_model("bert", "classification"), compiling.compile

    def altered(*arguments: Any, **named: Any) -> Any:
        encoder = compile(*arguments, **named)
        encoder.tensors["layers.1.up.weight"] = encoder.tensors["layers.1.up.weight"] * 1.01
        return encoder

    monkeypatch.setattr(compiling, "compile", altered)
    with pytest.raises(GateError, match=r"logits has a largest .* The first layer that differs is 1 of 3"):
        ff.export_onnx(model, tmp_path / "out", "fp32")
    assert not (tmp_path / "out").exists()


def test_a_head_that_differs_is_told_from_the_layers(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, compile = make_model("bert", "tokens"), compiling.compile

    def altered(*arguments: Any, **named: Any) -> Any:
        encoder = compile(*arguments, **named)
        name = "outputs.logits.0.linear.weight"
        encoder.tensors[name] = encoder.tensors[name] * 1.01
        return encoder

    monkeypatch.setattr(compiling, "compile", altered)
    with pytest.raises(GateError, match="All 3 layers agree"):
        ff.export_onnx(model, tmp_path / "out", "fp32")


@pytest.mark.parametrize(("table", "row"), [("type", 1), ("position", -1)])
@pytest.mark.parametrize("with_texts", [True, False])
def test_the_check_reads_second_texts_and_late_positions(
    make_model: MakeModel,
    tokenizer: Any,
    table: str,
    row: int,
    with_texts: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, compile = make_model("bert", "classification"), compiling.compile
    longest = tokenizer.model_max_length if with_texts else model.config.max_position_embeddings
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]

    def altered(*arguments: Any, **named: Any) -> Any:
        encoder = compile(*arguments, **named)
        name = f"embeddings.{table}"
        changed = encoder.tensors[name].copy()
        changed[row if row >= 0 else longest + row] += np.arange(changed.shape[1]) % 3
        encoder.tensors[name] = changed
        return encoder

    monkeypatch.setattr(compiling, "compile", altered)
    with pytest.raises(GateError, match="The first layer that differs is 0 of 3"):
        ff.export_onnx(model, tmp_path / "out", tokenizer=tokenizer if with_texts else None)


def test_exports_of_models_with_other_tokenizers_do_not_share_a_folder(
    make_model: MakeModel, tokenizer: Any, tmp_path: Path
) -> None:
    model, out = make_model("bert", "classification"), tmp_path / "out"
    ff.export_onnx(model, out, "fp32", tokenizer=tokenizer)
    tokenizer(["cat", "the cat"], padding=True, truncation=True, max_length=5)  # leaves its settings behind
    ff.export_onnx(model, out, "fp16", tokenizer=tokenizer)
    kept = (out / "tokenizer.json").read_bytes()
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["novel"])
    with pytest.raises(ConfigError, match=r"holds model-fp16.onnx of a model with another tokenizer"):
        ff.export_onnx(model, out, "fp32", tokenizer=other, overwrite=True)
    assert (out / "tokenizer.json").read_bytes() == kept


def test_a_place_that_cannot_be_written_is_told(make_model: MakeModel) -> None:
    with pytest.raises(FormatError, match="/proc/out cannot be written"):
        ff.export_onnx(make_model("bert"), "/proc/out", check=False)


def test_precisions_lie_beside_each_other_and_are_replaced_only_when_told(
    make_model: MakeModel, tokenizer: Any, tmp_path: Path
) -> None:
    model, out = make_model("bert", "classification"), tmp_path / "out"
    ff.export_onnx(model, out, "fp32", tokenizer=tokenizer)
    first = (out / "model-fp32.onnx").read_bytes()
    ff.export_onnx(model, out, "int8", tokenizer=tokenizer)
    assert (out / "model-fp32.onnx").read_bytes() == first
    assert {path.name for path in out.iterdir()} >= {"model-int8.onnx", "config.json", "tokenizer.json"}
    other = make_model("bert", "classification", seed=1)
    with pytest.raises(ConfigError, match=r"model-fp32.onnx exists: pass overwrite=True"):
        ff.export_onnx(other, out, "fp32")
    assert (out / "model-fp32.onnx").read_bytes() == first
    ff.export_onnx(other, out, "fp32", overwrite=True)
    assert (out / "model-fp32.onnx").read_bytes() != first


def test_the_report_prints_and_is_kept(make_model: MakeModel, tokenizer: Any, tmp_path: Path) -> None:
    report = ff.export_onnx(make_model("bert"), tmp_path / "out", "fp32", tokenizer=tokenizer)
    assert "3 of 3 attention" in str(report)
    assert "with the float32 model, 5 batches of texts" in str(report)
    assert f", opened in {report.load_seconds:.2f} s" in str(report)
    kept = json.loads((tmp_path / "out" / "model-fp32.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(report.to_dict()))
    assert (kept["opset"], kept["domains"], kept["max_length"]) == (17, ["com.microsoft"], 24)


def test_a_folder_of_ours_is_exported_as_a_model_is(
    make_model: MakeModel, tokenizer: Any, tmp_path: Path
) -> None:
    model = make_model("bert", "classification")
    ff.save_pretrained(model, tmp_path / "saved", tokenizer)
    ff.export_onnx(tmp_path / "saved", tmp_path / "out", "fp32")
    ff.export_onnx(model, tmp_path / "same", "fp32", tokenizer=tokenizer)
    assert (tmp_path / "out" / "model-fp32.onnx").read_bytes() == (
        tmp_path / "same" / "model-fp32.onnx"
    ).read_bytes()


def test_compiled_encoders_are_exported_in_the_precision_they_hold(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model("bert")
    int8, float32 = ff.compile(model), ff.compile(model, ff.CompileConfig(int8=None))
    assert ff.export_onnx(int8, tmp_path / "int8", "int8").checked_on.startswith("the compiled encoder")
    ff.export_onnx(float32, tmp_path / "fp32", "fp32")
    with pytest.raises(ConfigError, match="layers are INT8"):
        ff.export_onnx(int8, tmp_path / "no", "fp32")
    with pytest.raises(ConfigError, match="layers are float32"):
        ff.export_onnx(float32, tmp_path / "no", "int8")
    assert not (tmp_path / "no").exists()


def test_bad_places_and_words_are_refused(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("bert")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path, precision, words in (
        (tmp_path / "out", "int4", "'fp32', 'fp16', 'int8', 'int8-fastformers'"),
        (tmp_path / "file", "fp32", "is a file"),
        (tmp_path / "no" / "out", "fp32", "does not exist: make it first"),
    ):
        with pytest.raises(ConfigError, match=words):
            ff.export_onnx(model, path, precision)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModelError):
        ff.export_onnx(torch.nn.Linear(2, 2), tmp_path / "out")
    with torch.no_grad():
        model.encoder.layer[0].intermediate.dense.weight[0, 0] = 1e5
    with pytest.raises(UnsupportedModelError, match="float16 ends at 65504"):
        ff.export_onnx(model, tmp_path / "out", "fp16")
    assert not (tmp_path / "out").exists()


def test_a_model_with_int8_layers_is_not_written_under_another_precision(
    make_model: MakeModel, tokenizer: Any, tmp_path: Path
) -> None:
    model = make_model("bert", "classification")
    examples = [{"input_ids": torch.randint(4, 90, (1, 12))} for _ in range(8)]
    ff.quantize_(model, ff.Int8Config(never_slower=False), texts=examples)
    for precision in ("fp32", "fp16"):
        with pytest.raises(ConfigError, match="layers are INT8"):
            ff.export_onnx(model, tmp_path / "out", precision, tokenizer=tokenizer)
    assert not (tmp_path / "out").exists()
    report = ff.export_onnx(model, tmp_path / "out", "int8", tokenizer=tokenizer)
    assert "with the model with its INT8 layers" in str(report)


@pytest.mark.parametrize("change", [{"padding_side": "left"}, {"pad_token": None}, {}])
def test_the_check_gives_texts_as_ort_model_does_whatever_the_tokenizer_would_do(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    own = copy.deepcopy(tokenizer)
    own.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    for name, value in change.items():
        setattr(own, name, value)
    model = make_model("roberta", "classification")  # one type of tokens, and the tokenizer tells two
    report = ff.export_onnx(model, tmp_path / "out", tokenizer=own)
    assert report.checked["logits"]["max_abs"] < 1e-4


def _compared(name: str, found: np.ndarray, wanted: np.ndarray, mask: np.ndarray) -> Any:
    return compare([{"attention_mask": mask}], [{name: found}], [{name: wanted}])


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_nan_in_any_row_is_within_nothing(row: int) -> None:
    wanted = np.zeros((3, 4, 5), np.float32)
    found = wanted.copy()
    found[row, 0, 0] = np.nan
    with pytest.raises(GateError, match="largest difference of nan"):
        require_within(_compared("x", found, wanted, np.ones((3, 4), np.int64)), "fp32", lambda: "")


def test_the_batch_with_a_nan_is_the_most_different_whichever_output_has_it() -> None:
    masks = [{"attention_mask": np.ones((2, 3), np.int64)}] * 3
    wanted, found = (
        [{name: np.zeros((2, 3), np.float32) for name in ("first", "second")} for _ in masks]
        for _ in range(2)
    )
    found[0]["first"][:] = 9
    found[1]["second"][:] = np.nan
    assert most_different(masks, found, wanted) == 1


def test_logits_of_as_many_classes_as_tokens_are_compared_whole() -> None:
    wanted, mask = np.zeros((2, 4), np.float32), np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    found = wanted.copy()
    found[0, 3] = 9
    assert _compared("logits", found, wanted, mask)["logits"].max_abs == 9
    assert _compared("start_logits", found, wanted, mask)["start_logits"].max_abs == 0  # of padding
