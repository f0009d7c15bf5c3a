# SPDX-License-Identifier: MIT
"""Graphs compute linear layers and norms for tokens only; padding changes no answer, not even of 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import fastformers as ff
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.session import open_session, session_options

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MakeModel = Callable[..., Any]
LENGTHS = (3, 9, 1, 6)
CONFIGS = {"float32": ff.CompileConfig(int8=None), "int8": ff.CompileConfig()}
#: Operators that multiply by weights.
_PRODUCTS = {"MatMul", "MatMulIntegerToFloat"}


def make_batch(lengths: tuple[int, ...], longest: int, left: bool = False) -> dict[str, NDArray[np.int64]]:
    draw = np.random.default_rng(4)
    mask = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.ones((len(lengths), longest), np.int64)
    ids[mask == 1] = draw.integers(4, 90, sum(lengths))
    if left:
        mask, ids = (
            np.stack([np.roll(row, longest - n) for row, n in zip(values, lengths, strict=True)])
            for values in (mask, ids)
        )
    return {"input_ids": ids, "attention_mask": mask}


def wide_bert(kind: str = "BertModel", **changes: Any) -> Any:
    """Wide enough for INT8."""
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=90, pad_token_id=1, **sizes, **changes)
    torch.manual_seed(0)
    return getattr(transformers, kind)(config).eval()


def run(model: Any, values: dict[str, NDArray[np.int64]], names: list[str] | None = None) -> list[Any]:
    session = open_session(model.SerializeToString(), session_options(1))
    given = values | {"token_type_ids": np.zeros_like(values["input_ids"])}
    return list(session.run(names, {entry.name: given[entry.name] for entry in session.get_inputs()}))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", ["BertModel", "BertForSequenceClassification"])
def test_weights_are_multiplied_with_tokens_only(kind: str, config: str) -> None:
    encoder = ff.compile(wide_bert(kind), CONFIGS[config])
    model = write_encoder(encoder.plan, encoder.tensors).model
    products = [
        node.output[0]
        for node in model.graph.node
        if node.op_type in _PRODUCTS and node.name.startswith("layers.0")
    ]
    assert len(products) == (3 if config == "int8" else 6)  # INT8 attention projects inside
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in products)
    found = run(opened, make_batch(LENGTHS, 9), products)
    assert {rows.shape[0] for rows in found} == {sum(LENGTHS)}


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("config", CONFIGS)
def test_outputs_of_all_tokens_are_zero_at_padding(config: str, left: bool) -> None:
    encoder = ff.compile(wide_bert(), CONFIGS[config])
    values = make_batch(LENGTHS, 9, left)
    (rows,) = run(write_encoder(encoder.plan, encoder.tensors).model, values, ["last_hidden_state"])
    assert not rows[values["attention_mask"] == 0].any()
    assert (np.abs(rows[values["attention_mask"] == 1]).sum(1) > 1).all()


def test_more_padding_does_not_change_an_int8_answer() -> None:
    encoder = ff.compile(wide_bert())
    model = write_encoder(encoder.plan, encoder.tensors).model
    short, long = make_batch((6, 4), 6), make_batch((6, 4), 24)
    (one,), (other,) = (run(model, values, ["last_hidden_state"]) for values in (short, long))
    # Measured: equal. A sum over hidden keys may be taken in another order; a widened range would move it by 1e-3.
    np.testing.assert_allclose(other[:, :6], one, atol=1e-6)


def test_graphs_that_compute_padding_answer_alike(make_model: MakeModel, family: str) -> None:
    encoder = ff.compile(make_model(family), CONFIGS["float32"])
    values = make_batch(LENGTHS, 9, left=True)
    kept = values["attention_mask"] == 1
    one, other = (
        run(
            write_encoder(encoder.plan, encoder.tensors, skip_padding=skips).model,
            values,
            ["last_hidden_state"],
        )[0]
        for skips in (True, False)
    )
    assert one.shape == other.shape
    # Float32 sums of other numbers of rows are taken in another order: measured up to 5e-7 through three layers here.
    np.testing.assert_allclose(one[kept], other[kept], atol=2e-5)


@pytest.mark.parametrize("kind", ["BertModel", "BertForSequenceClassification"])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_relu_is_fused_with_the_bias_and_the_factors_before_it(kind: str, config: str) -> None:
    model = wide_bert(kind, hidden_act="relu")
    encoder = ff.compile(model, CONFIGS[config])
    factors = np.linspace(0.5, 2, 64, dtype=np.float32)
    tensors = dict(encoder.tensors)
    if config == "int8":  # as calibration leaves them: the product is the same
        for name in ("layers.0.down", "layers.1.down"):
            tensors[f"{name}.factors"] = factors
            tensors[f"{name}.weight"], tensors[f"{name}.scale"] = quantized(model, name, factors)
    written = write_encoder(encoder.plan, tensors)
    assert written.fused["bias + ReLU"] == (2, 2)
    kinds = [node.op_type for node in written.model.graph.node if node.name.startswith("layers.")]
    assert kinds.count("FusedGemm") == (2 if config == "float32" else 0)
    assert not any("down.factors" in name for node in written.model.graph.node for name in node.input)
    values = make_batch(LENGTHS, 9)
    with torch.no_grad():
        given = {name: torch.from_numpy(value) for name, value in values.items()}
        wanted = model(**given)[0].numpy()
    name = "logits" if "Classification" in kind else "last_hidden_state"
    (rows,) = run(written.model, values, [name])
    kept = values["attention_mask"] == 1 if name != "logits" else slice(None)
    # Float32 sums in another order: measured 4e-7. INT8: steps of 8-bit activations and weights, measured 1.2e-3, and
    # 5e-6 of the logits; factors that went nowhere would give 2e-2 and 1e-4. Each bound is four times
    # what was measured, and a quarter or a fifth of what it must catch.
    int8 = 2e-5 if name == "logits" else 5e-3
    np.testing.assert_allclose(rows[kept], wanted[kept], atol=1e-5 if config == "float32" else int8)


def quantized(model: Any, name: str, factors: NDArray[np.float32]) -> tuple[Any, Any]:
    """Weights [N, K] divided by the factors, s8, and one scale a row."""
    layers = getattr(model, "bert", model).encoder.layer
    weight = layers[int(name.split(".")[1])].output.dense.weight.detach().numpy() / factors
    scale = (np.abs(weight).max(1) / 127).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale
