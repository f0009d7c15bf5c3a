# SPDX-License-Identifier: MIT
"""Our operators inside ONNX Runtime give the bits of our own calls, and refuse in words what they cannot compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastformers as ff
from fastformers import kernels, ort_library
from fastformers.errors import MissingExtraError
from fastformers.export.native_encoder import native_encoder_model, plan_text

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
try:
    LIBRARY = ff.ort_library_path()
except MissingExtraError as missing:
    pytest.skip(str(missing), allow_module_level=True)

Array = np.ndarray[Any, Any]
COMMON = {
    "vocab_size": 90,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "pad_token_id": 1,
}
SIZES = {**COMMON, "intermediate_size": 40, "max_position_embeddings": 48}
MARKS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
MODELS = {
    "bert": ("BertConfig", "AutoModelForSequenceClassification", SIZES),
    "bert-tokens": ("BertConfig", "AutoModelForTokenClassification", SIZES),
    "roberta": ("RobertaConfig", "AutoModel", {**SIZES, "type_vocab_size": 1}),
    "mpnet": ("MPNetConfig", "AutoModel", SIZES),
    "modernbert": (
        "ModernBertConfig",
        "AutoModelForSequenceClassification",
        {**SIZES, **MARKS, "local_attention": 6, "classifier_pooling": "mean"},
    ),
}


def session(model: Any) -> Any:
    options = ort.SessionOptions()
    options.register_custom_ops_library(LIBRARY)
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options)


def batch(*lengths: int, left: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    longest = max(lengths)
    ids = torch.full((len(lengths), longest), 1)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        places = slice(longest - length, None) if left else slice(length)
        ids[row, places] = torch.randint(4, 90, (length,), generator=generator)
        mask[row, places] = 1
    return {"input_ids": ids, "attention_mask": mask}


def feed(runtime: Any, inputs: dict[str, torch.Tensor]) -> dict[str, Array]:
    names = [each.name for each in runtime.get_inputs()]
    given = {"token_type_ids": torch.zeros_like(inputs["input_ids"]), **inputs}
    return {name: given[name].numpy() for name in names}


def make_encoder(name: str, attention: Any = "auto") -> Any:
    transformers = pytest.importorskip("transformers")
    kind, auto, sizes = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, auto).from_config(getattr(transformers, kind)(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    return ff.compile(model, ff.CompileConfig(attention=attention))


@pytest.fixture(params=MODELS)
def encoder(request: pytest.FixtureRequest) -> Any:
    return make_encoder(request.param)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("attention", ["auto", "float32", "int8"])
@pytest.mark.parametrize("left", [False, True])
def test_the_encoder_node_gives_the_encoders_bits(name: str, attention: str, left: bool) -> None:
    encoder = make_encoder(name, attention)
    runtime = session(native_encoder_model(encoder.plan, encoder.tensors, attention=attention))
    inputs = batch(3, 20, 17, left=left)
    wanted = encoder(**inputs)
    names = [each.name for each in runtime.get_outputs()]
    found = dict(zip(names, runtime.run(None, feed(runtime, inputs)), strict=True))
    shared = [each for each in names if each in wanted]
    assert shared
    for each in shared:
        assert np.array_equal(found[each], wanted[each].numpy()), each


def test_token_types_reach_the_encoder(encoder: Any) -> None:
    if encoder.plan.types < 2:
        pytest.skip("the model has no token types to tell apart")
    runtime = session(native_encoder_model(encoder.plan, encoder.tensors))
    inputs = batch(9, 4)
    inputs["token_type_ids"] = (torch.arange(9) > 4).long().repeat(2, 1) * inputs["attention_mask"]
    found = runtime.run(["logits"], feed(runtime, inputs))[0]
    assert np.array_equal(found, encoder(**inputs).logits.numpy())
    inputs["token_type_ids"] *= 0
    assert not np.array_equal(found, runtime.run(["logits"], feed(runtime, inputs))[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attention_mask": torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]])}, "inside sequence 0"),
        ({"attention_mask": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])}, "no token of sequence 1"),
        ({"attention_mask": torch.tensor([[1, 2, 1, 1], [1, 1, 1, 1]])}, "other numbers than 0 and 1"),
        ({"attention_mask": torch.ones(2, 3, dtype=torch.int64)}, r"must be \[2, 4\]"),
        ({"input_ids": torch.full((2, 4), -1)}, "holds -1, out of range"),
        ({"input_ids": torch.full((2, 4), 90)}, "90"),
        ({"input_ids": torch.full((2, 49), 5), "attention_mask": torch.ones(2, 49, dtype=torch.int64)}, "49"),
    ],
)
def test_batches_that_cannot_be_computed_are_refused(changes: dict[str, torch.Tensor], words: str) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_config(transformers.BertConfig(**SIZES)).eval()
    encoder = ff.compile(model)
    runtime = session(native_encoder_model(encoder.plan, encoder.tensors))
    with pytest.raises(Exception, match=words):
        runtime.run(None, feed(runtime, {**batch(4, 4), **changes}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first word"),
        ("pudding 1", "no encoder plan"),
        ("plan 2", "reads form 1"),
        ("plan 1 24 24", "at vocab"),
    ],
)
def test_a_damaged_plan_is_refused(text: str, words: str) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_config(transformers.BertConfig(**SIZES)).eval()
    encoder = ff.compile(model)
    graph = native_encoder_model(encoder.plan, encoder.tensors)
    attribute = next(each for each in graph.graph.node[0].attribute if each.name == "plan")
    for damaged in (text, text + " x" * bool(text)):
        attribute.s = damaged.encode()
        with pytest.raises(Exception, match=words):
            session(graph)
    attribute.s = (plan_text(encoder.plan) + " more").encode()
    with pytest.raises(Exception, match="goes on after its end with 'more'"):
        session(graph)


def linear_model(weight: Array, extra: dict[str, Array], activation: str, constant: bool = True) -> Any:
    helper, kinds = onnx.helper, onnx.TensorProto
    arrays = {"weight": weight, **extra}
    names = ["x", *(name if name in arrays else "" for name in ("weight", "scale", "bias", "factors"))]
    node = helper.make_node("Linear", names, ["y"], domain="fastformers", activation=activation)
    inputs = [helper.make_tensor_value_info("x", kinds.FLOAT, None)]
    if not constant:
        inputs.append(helper.make_tensor_value_info("weight", kinds.INT8, None))
        del arrays["weight"]
    graph = helper.make_graph(
        [node],
        "linear",
        inputs,
        [helper.make_tensor_value_info("y", kinds.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("fastformers", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def draw_linear() -> tuple[Array, dict[str, Array]]:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (37, 26)).astype(np.int8)
    extra = {"scale": rng.random(37) * 0.01, "bias": rng.standard_normal(37), "factors": rng.random(26) + 0.5}
    return weight, {name: value.astype(np.float32) for name, value in extra.items()}


@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("left_out", [(), ("bias",), ("factors",), ("bias", "factors")])
@pytest.mark.parametrize("shape", [(1, 26), (2, 5, 26), (70, 26), (0, 26)])
def test_the_linear_node_gives_the_bits_of_linear(
    activation: str, left_out: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    weight, extra = draw_linear()
    for name in left_out:
        del extra[name]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found = session(linear_model(weight, extra, activation)).run(None, {"x": x})[0]
    wanted: Any = kernels.linear(
        x,
        kernels.pack(weight, extra["scale"]),
        extra.get("bias"),
        factors=extra.get("factors"),
        activation=None if activation == "none" else activation,  # type: ignore[arg-type]
    )
    assert np.array_equal(found, wanted)


def test_linear_nodes_that_do_not_fit_are_refused() -> None:
    weight, extra = draw_linear()
    for model, words in (
        (linear_model(weight, {**extra, "scale": extra["scale"][:5]}, "none"), "scale must have 37 values"),
        (linear_model(weight, {**extra, "bias": extra["factors"]}, "none"), "bias must have 37 values"),
        (linear_model(weight, extra, "swish"), "known: none, relu, gelu, gelu_tanh"),
        (linear_model(np.full_like(weight, -128), extra, "none"), "-128"),
        (linear_model(weight, extra, "none", constant=False), "must be an initializer"),
    ):
        with pytest.raises(Exception, match=words):
            session(model)
    with pytest.raises(Exception, match="26 channels"):
        session(linear_model(weight, extra, "none")).run(None, {"x": np.zeros((2, 25), np.float32)})


def attention_model(heads: int, size: int, products: str, window: int, bias: Array | None) -> Any:
    helper, kinds = onnx.helper, onnx.TensorProto
    node = helper.make_node(
        "Attention",
        ["qkv", "mask", *([] if bias is None else ["bias"])],
        ["context"],
        domain="fastformers",
        heads=heads,
        head_size=size,
        window=window,
        products=products,
    )
    graph = helper.make_graph(
        [node],
        "attention",
        [
            helper.make_tensor_value_info("qkv", kinds.FLOAT, None),
            helper.make_tensor_value_info("mask", kinds.INT64, None),
        ],
        [helper.make_tensor_value_info("context", kinds.FLOAT, None)],
        [] if bias is None else [onnx.numpy_helper.from_array(bias, "bias")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("fastformers", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("products", ["float32", "int8"])
@pytest.mark.parametrize(("window", "biased"), [(-1, False), (-1, True), (5, False)])
@pytest.mark.parametrize("left", [False, True])
def test_the_attention_node_computes_each_sequence_without_its_padding(
    products: Any, window: int, biased: bool, left: bool
) -> None:
    rng = np.random.default_rng(2)
    bias = rng.standard_normal((2, 79)).astype(np.float32) if biased else None
    mask = batch(21, 4, 18, left=left)["attention_mask"].numpy()
    qkv = rng.standard_normal((3, 21, 2 * 3 * 13)).astype(np.float32)
    found = session(attention_model(2, 13, products, window, bias)).run(None, {"qkv": qkv, "mask": mask})[0]
    for row, kept in enumerate(mask == 1):
        wanted = kernels.attention(
            np.ascontiguousarray(qkv[row, kept]),
            2,
            window=None if window < 0 else window,
            relative_bias=bias,
            products=products,
        )
        assert np.array_equal(found[row, kept], wanted)
        assert not found[row, ~kept].any()


def test_attention_nodes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Exception, match="known: auto, float32, int8"):
        session(attention_model(2, 8, "int4", -1, None))
    with pytest.raises(Exception, match="relative_bias must be"):
        session(attention_model(2, 8, "auto", -1, np.zeros((3, 9), np.float32)))
    runtime = session(attention_model(2, 8, "auto", -1, None))
    ones = np.ones((1, 4), np.int64)
    with pytest.raises(Exception, match=r"qkv must be \[batch, length, 48\]"):
        runtime.run(None, {"qkv": np.zeros((1, 4, 47), np.float32), "mask": ones})
    with pytest.raises(Exception, match="attention_mask must be"):
        runtime.run(None, {"qkv": np.zeros((1, 5, 48), np.float32), "mask": ones})


def test_sessions_in_threads_do_not_disturb_each_other(encoder: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    runtime = session(native_encoder_model(encoder.plan, encoder.tensors))
    inputs = [feed(runtime, batch(length, 5)) for length in range(1, 30)]
    alone = [runtime.run(None, each) for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: runtime.run(None, each), inputs))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_library_outlives_its_sessions() -> None:
    for _ in range(20):  # its threads wait in its code when the last session goes
        encoder = make_encoder("bert")
        runtime = session(native_encoder_model(encoder.plan, encoder.tensors))
        runtime.run(None, feed(runtime, batch(40, 40, 40)))
        del runtime


def test_an_installation_without_the_library_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ort_library, "_LIBRARY", tmp_path / "libfastformers_ort.so")
    with pytest.raises(MissingExtraError, match="get_onnxruntime_headers"):
        ff.ort_library_path()
