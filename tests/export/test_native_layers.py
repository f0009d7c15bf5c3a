# SPDX-License-Identifier: MIT
"""Graphs whose linear layers and attention are our operators compute what the engine does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from padded_runs import logits_with_padding

import fastformers as ff
from fastformers import kernels
from fastformers.errors import ConfigError, GateError, MissingExtraError
from fastformers.export import parity
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.native_layers import ATTENTION, LINEAR
from fastformers.export.session import open_session, session_options
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
try:
    ff.ort_library_path()
except MissingExtraError as missing:
    pytest.skip(str(missing), allow_module_level=True)

MakeModel = Callable[..., Any]
Array = np.ndarray[Any, Any]
NAME = "int8-fastformers-layers"
#: Wide enough for every linear layer to be INT8; head size 32, so that one head is too.
SIZES = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 96}
TEXTS = ["the cat sat on the mat", "who ran because the bank"] * 8


def sizes(family: str) -> dict[str, int]:
    return {**SIZES, "embedding_size": 48} if family == "electra" else SIZES


def export(model: Any, path: Path, **named: Any) -> Any:
    return ff.export_onnx(model, path, "int8-fastformers", native="layers", **named)


def batch(plan: Any, lengths: tuple[int, ...] = (17, 3, 9)) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.where(mask == 1, rng.integers(4, 90, mask.shape), 1)
    types = {"token_type_ids": mask * rng.integers(0, plan.types, mask.shape)} if plan.types else {}
    return {"input_ids": ids, "attention_mask": mask, **types}


def run_with_inside(graph: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    """Every value that goes into or comes out of a node of ours."""
    wanted = {
        name
        for node in graph.graph.node
        if node.domain == "fastformers"
        for name in (node.input[0], node.output[0])
    }
    opened = onnx.ModelProto.FromString(graph.SerializeToString())
    del opened.graph.output[:]
    names = sorted(wanted)
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(opened.SerializeToString(), session_options(1, native=True))
    return dict(zip(names, session.run(names, inputs), strict=True))


def attributes(node: Any) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def written(encoder: Any) -> Any:
    return write_encoder(encoder.plan, encoder.tensors, native_attention=encoder.attention).model


def test_every_family_and_head_is_near_the_engine_with_all_blocks_ours(
    make_model: MakeModel, family: str, head: str, tmp_path: Path
) -> None:
    report = export(make_model(family, head, **sizes(family)), tmp_path / "out")
    linears = 12 + (family == "electra")  # which projects its embeddings
    assert report.native_blocks == {LINEAR: (linears, linears), ATTENTION: (3, 3)}
    assert report.checked
    # LayerNorm sums in another order, and a last bit can move an activation to the next of its 256 steps.
    assert report.engine.keys() == report.checked.keys()
    assert all(numbers["worst"] > 0.999 for numbers in report.engine.values())


@pytest.mark.parametrize("name", ["bert", "electra", "mpnet", "modernbert", "modernbert-mean"])
def test_linear_nodes_give_the_bits_of_linear_with_the_tensors_of_the_compiled_model(
    make_model: MakeModel, tokenizer: Any, name: str
) -> None:
    model = make_model(name, "classification", **sizes(name))
    encoder = ff.compile(model, tokenizer=tokenizer, texts=TEXTS)
    graph = written(encoder)
    values = run_with_inside(graph, batch(encoder.plan))
    nodes = [node for node in graph.graph.node if node.op_type == "Linear"]
    assert sum(f"{node.name.rpartition('/')[0]}.factors" in encoder.tensors for node in nodes) >= 9
    for node in nodes:
        layer = node.name.rpartition("/")[0]
        tensors = {part: encoder.tensors.get(f"{layer}.{part}") for part in ("bias", "factors")}
        activation: Any = attributes(node)["activation"].decode()
        wanted = kernels.linear(
            values[node.input[0]],
            kernels.pack(encoder.tensors[f"{layer}.weight"], encoder.tensors[f"{layer}.scale"]),
            tensors["bias"],
            factors=tensors["factors"],
            activation=None if activation == "none" else activation,
        )
        assert np.array_equal(values[node.output[0]], wanted), layer


@pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert"])
@pytest.mark.parametrize("products", ["auto", "float32", "int8"])
def test_attention_nodes_give_the_bits_of_attention(make_model: MakeModel, name: str, products: Any) -> None:
    encoder = ff.compile(make_model(name, **SIZES), ff.CompileConfig(attention=products))
    graph = written(encoder)
    lengths = (17, 3, 9)
    values = run_with_inside(graph, batch(encoder.plan, lengths))
    nodes = [node for node in graph.graph.node if (node.domain, node.op_type) == ("fastformers", "Attention")]
    assert len(nodes) == 3
    for number, node in enumerate(nodes):
        settings, layer = attributes(node), encoder.plan.layers[number]
        assert (settings["products"].decode(), settings["window"]) == (products, layer.window)
        for row, length in enumerate(lengths):
            wanted = kernels.attention(
                np.ascontiguousarray(values[node.input[0]][row, :length]),
                layer.heads,
                window=None if layer.window < 0 else layer.window,
                relative_bias=encoder.tensors.get(f"layers.{number}.relative_bias"),
                products=products,
            )
            found = values[node.output[0]][row]
            assert np.array_equal(found[:length], wanted)
            assert not found[length:].any()


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_new", "silu"])
@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_activations_are_in_the_node_where_it_knows_them(
    make_model: MakeModel, name: str, activation: str, tmp_path: Path
) -> None:
    report = export(make_model(name, hidden_act=activation, **SIZES), tmp_path / "out")
    assert report.engine["last_hidden_state"]["cosine"] > 0.999  # a few 8-bit steps
    graph = onnx.load(tmp_path / "out" / f"model-{NAME}.onnx").graph
    found = {attributes(node)["activation"] for node in graph.node if node.op_type == "Linear"}
    inside = {"relu": b"relu", "gelu": b"gelu", "gelu_new": b"gelu_tanh"}.get(activation)
    assert found == ({b"none", inside} if name == "bert" and inside else {b"none"})


@pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert"])
def test_pruned_shapes_are_ordinary(
    make_model: MakeModel, prune: Callable[..., None], name: str, tmp_path: Path
) -> None:
    model = make_model(name, "classification", **SIZES)
    heads = 3
    if name != "mpnet":  # whose relative positions are shared by the layers
        prune(model, 0, heads=1)
        prune(model, 1, heads=0)
        heads = 2
    prune(model, 1, ffn=33)
    prune(model, 2, ffn=0)
    report = export(model, tmp_path / "out")
    linears = 2 * heads + 4
    assert report.native_blocks == {LINEAR: (linears, linears), ATTENTION: (heads, heads)}
    assert report.engine["logits"]["cosine"] > 0.999  # a few 8-bit steps


@pytest.mark.parametrize("fill", ["zero", "-inf"])
def test_span_heads_read_the_rows(make_model: MakeModel, fill: Any, tmp_path: Path) -> None:
    model = SpanClassifier(make_model("bert", **SIZES), 2, 3, 0.0, fill).eval()
    report = export(model, tmp_path / "out")
    assert report.num_spans == 2
    ids = torch.randint(4, 90, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    spans = torch.tensor([[[0, 9], [3, 5]], [[1, 2], [2, 6]]])
    with ff.OrtModel(tmp_path / "out") as found:
        logits = found.run(ids.numpy(), mask.numpy(), spans=spans.numpy())["logits"]
    wanted = ff.compile(model)(ids, mask, spans=spans).logits.numpy()
    assert np.abs(logits - wanted).max() < 0.05 * np.abs(wanted).max()  # a few steps of 8 bits


def test_pair_heads_read_the_rows(make_model: MakeModel, tmp_path: Path) -> None:
    model = PairClassifier(make_model("bert", **SIZES), 2, separator_id=3, first_id=2).eval()
    export(model, tmp_path / "out")
    ids = torch.tensor([[2, 7, 8, 3, 9, 10, 3], [2, 7, 3, 3, 11, 3, 0]])
    mask = (ids != 0).long()
    with ff.OrtModel(tmp_path / "out") as found:
        logits = found.run(ids.numpy(), mask.numpy())["logits"]
    wanted = ff.compile(model)(ids, mask).logits.numpy()
    assert np.abs(logits - wanted).max() < 0.05 * np.abs(wanted).max()  # a few steps of 8 bits


@pytest.mark.parametrize("config", [{"pooling": "mean", "normalize": True}, {"int8_embeddings": True}])
def test_compile_options_are_kept(make_model: MakeModel, config: dict[str, Any], tmp_path: Path) -> None:
    report = export(make_model("mpnet", **SIZES), tmp_path / "out", config=ff.CompileConfig(**config))
    assert report.engine
    assert all(numbers["cosine"] > 0.999 for numbers in report.engine.values())  # a few 8-bit steps


def test_layers_kept_in_float32_are_refused_unless_allowed(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("bert", **SIZES)
    config = ff.CompileConfig(int8=ff.Int8Config(exclude=("encoder.layer.1.intermediate.dense",)))
    with pytest.raises(
        ConfigError, match=r"11 of 12 linear layers run in fastformers' kernel.*allow_partial"
    ):
        export(model, tmp_path / "out", config=config)
    assert not (tmp_path / "out").exists()
    report = export(model, tmp_path / "out", config=config, allow_partial=True)
    assert "in fastformers' kernels: 11 of 12 linear layers, 3 of 3 attention blocks" in str(report)
    assert report.engine["last_hidden_state"]["cosine"] > 0.999  # a few 8-bit steps


def test_both_forms_lie_in_one_folder_and_answer_alike(
    make_model: MakeModel, tokenizer: Any, tmp_path: Path
) -> None:
    encoder = ff.compile(make_model("bert", "classification", **SIZES), tokenizer=tokenizer, texts=TEXTS)
    out = tmp_path / "out"
    whole = ff.export_onnx(encoder, out, "int8-fastformers", tokenizer=tokenizer)
    report = export(encoder, out, tokenizer=tokenizer)
    assert (whole.native, report.native, whole.native_blocks) == ("encoder", "layers", {})
    assert json.loads((out / f"model-{NAME}.json").read_text("utf-8"))["file"] == f"model-{NAME}.onnx"
    with pytest.raises(ConfigError, match="int8-fastformers, int8-fastformers-layers; name the one to use"):
        ff.OrtModel(out)
    with pytest.raises(ConfigError, match=f"model-{NAME}.onnx exists: pass overwrite=True"):
        export(encoder, out)
    texts = ["the cat sat", "who ran because the dog sat on the mat", "good"]
    with ff.OrtModel(out, "int8-fastformers") as one, ff.OrtModel(out, NAME, instances=2) as other:
        wanted = one.logits(texts)
        # A few 8-bit steps: LayerNorm sums in another order.
        assert np.abs(np.array(other.logits(texts)) - wanted).max() < 0.05 * np.abs(wanted).max()
    with pytest.raises(ConfigError, match="threads=2 has no effect"):
        ff.OrtModel(out, NAME, threads=2)


def test_padding_on_either_side_changes_nothing(make_model: MakeModel, tmp_path: Path) -> None:
    export(make_model("bert", "classification", **SIZES), tmp_path / "out", check=False)
    alone, right, left = logits_with_padding(tmp_path / "out")
    # ONNX Runtime's float32 head may sum in another order for another number of rows.
    np.testing.assert_allclose(right, alone, atol=1e-6)
    np.testing.assert_allclose(left, alone, atol=1e-6)


def test_a_graph_that_is_not_the_engines_is_not_written(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = parity.Tolerance(None, 1.1, "a test")
    monkeypatch.setattr(parity, "TOLERANCES", {**parity.TOLERANCES, NAME: nothing})
    with pytest.raises(GateError, match=f"the {NAME} graph does not compute what our engine computes"):
        export(make_model("bert", **SIZES), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("native", [None, "encoder"])
def test_allowing_parts_is_refused_where_the_encoder_is_one_node(
    make_model: MakeModel, native: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no effect where the encoder is one node"):
        ff.export_onnx(
            make_model("bert"), tmp_path / "out", "int8-fastformers", native=native, allow_partial=True
        )


@pytest.mark.parametrize(
    ("precision", "native", "words"),
    [
        ("int8", "layers", "no effect on 'int8'"),
        ("fp32", "encoder", "no effect on 'fp32'"),
        ("int8-fastformers", "nodes", "allowed: 'encoder', 'layers'"),
    ],
)
def test_forms_that_do_not_exist_are_refused(
    make_model: MakeModel, precision: Any, native: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        ff.export_onnx(make_model("bert"), tmp_path / "out", precision, native=native)
