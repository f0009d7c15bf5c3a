# SPDX-License-Identifier: MIT
"""Every known family is quantized in full, with its activation fused, and answers as before."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastformers as ff
from fastformers.modules import PackedLinear
from fastformers.quantization.families import FUSIONS, activation_of, fusable_activation, is_head

SWAP_ALL = ff.Int8Config(never_slower=False)


@pytest.mark.parametrize("task", ["AutoModel", "AutoModelForSequenceClassification"])
def test_family_is_quantized_and_answers_as_before(
    make_model: Callable[..., Any],
    token_ids: list[dict[str, Tensor]],
    family: str,
    task: str,
    sizes: tuple[int, int],
) -> None:
    model = make_model(family, task)
    with torch.no_grad():
        expected = model(**token_ids[3])[0]
    report = ff.quantize_(model, SWAP_ALL, texts=token_ids)
    linears, fused = sizes
    swapped = [layer for layer in report.layers if layer.decision == "int8"]
    assert len(swapped) == linears
    assert [layer.activation for layer in swapped].count("gelu") == fused
    assert all(layer.reason.startswith("head") for layer in report.layers if layer.decision == "float")
    assert all(layer.sqnr_db > 30 for layer in swapped)
    assert report.agreement.cosine_worst > 0.999
    with torch.no_grad():
        got = model(**token_ids[3])[0]
    assert torch.allclose(got, expected, atol=0.1)
    assert not torch.equal(got, expected)


@pytest.mark.parametrize(
    "task", ["AutoModelForTokenClassification", "AutoModelForQuestionAnswering", "AutoModelForMaskedLM"]
)
def test_other_heads_stay_float(
    make_model: Callable[..., Any],
    token_ids: list[dict[str, Tensor]],
    family: str,
    task: str,
    sizes: tuple[int, int],
) -> None:
    model = make_model(family, task)
    report = ff.quantize_(model, SWAP_ALL, texts=token_ids)
    prefix = model.base_model_prefix
    outside = [layer for layer in report.layers if not layer.name.startswith(f"{prefix}.")]
    assert outside
    assert {layer.decision for layer in outside} == {"float"}
    assert sum(layer.decision == "int8" for layer in report.layers) == sizes[0]


def test_heads_are_quantized_when_asked(
    make_model: Callable[..., Any], token_ids: list[dict[str, Tensor]]
) -> None:
    model = make_model("bert", "AutoModelForSequenceClassification", num_labels=64)
    config = ff.Int8Config(never_slower=False, include_head=True)
    report = ff.quantize_(model, config, texts=token_ids)
    assert isinstance(model.classifier, PackedLinear)
    assert isinstance(model.bert.pooler.dense, PackedLinear)
    assert {layer.decision for layer in report.layers} == {"int8"}


@pytest.mark.parametrize(
    ("hidden_act", "fused"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("relu", "relu"),
        ("silu", None),
    ],
)
def test_only_activations_the_kernels_know_are_fused(
    make_model: Callable[..., Any], token_ids: list[dict[str, Tensor]], hidden_act: str, fused: str | None
) -> None:
    model = make_model("bert", hidden_act=hidden_act)
    before = type(model.encoder.layer[0].intermediate.intermediate_act_fn)
    with torch.no_grad():
        expected = model(**token_ids[0])[0]
    ff.quantize_(model, SWAP_ALL, texts=token_ids)
    intermediate = model.encoder.layer[0].intermediate
    assert intermediate.dense.activation == fused
    assert type(intermediate.intermediate_act_fn) is (before if fused is None else nn.Identity)
    with torch.no_grad():
        assert torch.allclose(model(**token_ids[0])[0], expected, atol=0.1)


def test_activation_functions_are_what_the_table_says() -> None:
    transformers = pytest.importorskip("transformers")
    x = torch.linspace(-6, 6, 1001)
    exact = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda v: F.gelu(v, approximate="tanh")}
    named = {
        name: transformers.activations.ACT2FN[name]
        for name in transformers.activations.ACT2CLS
        if name != "xielu"
    }
    known = {name: activation_of(module) for name, module in named.items()}
    assert {name for name, found in known.items() if found} >= {"gelu", "gelu_new", "gelu_fast", "relu"}
    for name, found in known.items():
        if found is not None:
            assert torch.allclose(named[name](x), exact[found](x), atol=2e-6), name
    assert activation_of(F.relu) == activation_of(torch.relu) == activation_of(nn.ReLU()) == "relu"
    assert activation_of(nn.GELU()) == activation_of(F.gelu) == "gelu"
    assert activation_of(nn.GELU(approximate="tanh")) == "gelu_tanh"
    for other in (nn.Tanh(), nn.ReLU6(), nn.Identity(), torch.tanh, None, "gelu"):
        assert activation_of(other) is None


def test_an_activation_with_hooks_is_not_fused() -> None:
    activation = nn.ReLU()
    activation.register_forward_hook(lambda *_: None)
    assert activation_of(activation) is None
    patched = nn.ReLU()
    patched.forward = lambda x: x  # type: ignore[method-assign, assignment] # as adapters do
    assert activation_of(patched) is None


@pytest.mark.parametrize(("package", "name"), FUSIONS, ids=lambda part: part.rpartition(".")[2])
def test_fused_activation_follows_its_linear_in_the_source(package: str, name: str) -> None:
    pytest.importorskip("transformers")
    module = importlib.import_module(package)
    if package.startswith("transformers"):
        family = package.rpartition(".")[2]
        suffix = "data2vec_text" if family == "data2vec" else family
        module = importlib.import_module(f"{package}.modeling_{suffix}")
    linear, activation = FUSIONS[package, name]
    source = inspect.getsource(getattr(module, name))
    uses = [
        line.strip()
        for line in source.splitlines()
        if f"self.{linear}(" in line or f"self.{activation}(" in line
    ]
    calls = [call for line in uses for call in (f"self.{linear}(", f"self.{activation}(") if call in line]
    assert sorted(calls) == sorted([f"self.{linear}(", f"self.{activation}("])


def test_a_subclass_of_a_known_class_is_not_fused() -> None:
    modeling = pytest.importorskip("transformers.models.bert.modeling_bert")
    config = pytest.importorskip("transformers").BertConfig(hidden_size=8, intermediate_size=16)

    class Changed(modeling.BertIntermediate):  # type: ignore[misc, name-defined]
        pass

    assert fusable_activation(modeling.BertIntermediate(config), "dense") == "intermediate_act_fn"
    assert fusable_activation(Changed(config), "dense") is None


@pytest.mark.parametrize(
    ("name", "prefix", "head"),
    [
        ("pooler.dense", None, True),
        ("classifier", None, True),
        ("bert.pooler.dense", "bert", True),
        ("bert.encoder.layer.0.output.dense", "bert", False),
        ("bertish.dense", "bert", True),
        ("anything.dense", "bert", True),
        ("encoder.layer.0.classifiers.dense", None, False),
    ],
)
def test_what_is_a_head(name: str, prefix: str | None, head: bool) -> None:
    assert is_head(name, prefix) is head
