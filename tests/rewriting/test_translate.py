# SPDX-License-Identifier: MIT
"""Plans, run by a slow interpreter, compute what the torch models compute, for every family and head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers.encoder_plan import EncoderPlan
from fastformers.modules import PackedLinear
from fastformers.rewriting import translate

#: Sums of at most 96 products of order 1, in another order, through three layers.
TOLERANCE = 1e-5


def fields_of(model: nn.Module, text: list[int], **inputs: Tensor) -> dict[str, Tensor]:
    """A torch model's outputs for one text."""
    with torch.no_grad():
        found = model(input_ids=torch.tensor([text]), **inputs)
    return {name: value[0] for name, value in found.items() if isinstance(value, Tensor)}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.isfinite(value).all()
        found = got[name].reshape(value.shape)
        assert (found - value).abs().max() <= tolerance * max(1.0, float(value.abs().max())), name


def check(model: Any, texts: list[list[int]], reference: Any, source: Any = None) -> EncoderPlan:
    translation = translate(model if source is None else source)
    interpreter = reference(translation.plan, translation.tensors)
    for text in texts:
        assert_same(interpreter.run(text), fields_of(model, text))
    return translation.plan


@pytest.mark.parametrize("seed", [0, 1])
def test_plan_computes_what_the_model_does(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    PlanReference: Any,
    family: str,
    head: str,
    seed: int,
) -> None:
    heads, head_size = [(3, 10), (2, 26)][seed]
    model = make_model(family, head, seed, hidden_size=heads * head_size, num_attention_heads=heads)
    plan = check(model, make_texts(seed), PlanReference)
    assert [(layer.heads, layer.head_size) for layer in plan.layers] == [(heads, head_size)] * 3
    assert EncoderPlan.from_dict(plan.to_dict()) == plan


def test_output_class_is_the_models(make_model: Callable[..., Any], family: str, head: str) -> None:
    model = make_model(family, head)
    with torch.no_grad():
        expected = model(torch.tensor([[2, 3, 4]]))
    assert translate(model).result == type(expected).__name__


def test_pruned_layers_are_ordinary(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    prune: Callable[..., None],
    PlanReference: Any,
    family: str,
) -> None:
    model = make_model(family, "classification")
    for number, (heads, ffn) in enumerate([(1, 7), (2, 0), (4, 61)]):
        prune(model, number, None if family == "mpnet" else heads, ffn)
    plan = check(model, make_texts(), PlanReference)
    assert [layer.intermediate for layer in plan.layers] == [7, 0, 61]
    assert [layer.heads for layer in plan.layers] == ([3, 3, 3] if family == "mpnet" else [1, 2, 4])


def test_layer_without_heads_adds_its_bias(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    prune: Callable[..., None],
    PlanReference: Any,
    family: str,
) -> None:
    """Transformers cannot run it, so it is compared with a layer whose heads are multiplied by 0."""
    model = make_model(family, "tokens")
    headless = copy.deepcopy(model)
    prune(headless, 1, heads=0)
    outputs = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.endswith(
            (
                "layer.1.attention.output.dense",
                "layer.1.attention.out_lin",
                "layer.1.attention.attn.o",
                "s.1.attn.Wo",
            )
        )
    ]
    assert len(outputs) == 1
    nn.init.zeros_(outputs[0].weight)
    plan = check(model, make_texts(), PlanReference, headless)
    assert [layer.heads for layer in plan.layers] == [3, 0, 3]


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "silu", "gelu"])
def test_activations(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    PlanReference: Any,
    activation: str,
    family: str,
) -> None:
    if family == "distilbert":
        activation = "relu" if activation == "relu" else "gelu"
    check(make_model(family, hidden_act=activation), make_texts(count=3), PlanReference)


def test_token_types(make_model: Callable[..., Any], PlanReference: Any) -> None:
    model = make_model("bert")
    translation = translate(model)
    types = [0, 0, 1, 1, 1]
    got = PlanReference(translation.plan, translation.tensors).run([5, 6, 7, 8, 9], types)
    assert_same(got, fields_of(model, [5, 6, 7, 8, 9], token_type_ids=torch.tensor([types])))


def test_int8_layers_keep_their_numbers(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    PlanReference: Any,
    family: str,
) -> None:
    """Against the torch model with the rounded weights in float32 layers: only activations are not rounded."""
    model = make_model(family, "classification", hidden_size=60, intermediate_size=70)
    examples = [{"input_ids": torch.tensor([text] * 2)} for text in make_texts(3, 8)]
    ff.quantize_(model, ff.Int8Config(never_slower=False, include_head=True), texts=examples)
    translation = translate(model)
    interpreter = PlanReference(translation.plan, translation.tensors)
    assert translation.notes == ()
    for layer in ("qkv", "output", "up", "down"):
        assert translation.tensors[f"layers.0.{layer}.weight"].dtype == np.int8
        assert f"layers.0.{layer}.factors" in translation.tensors
    for name, module in list(model.named_modules()):
        if isinstance(module, PackedLinear):
            model.set_submodule(name, _as_float(module))
    for text in make_texts():
        assert_same(interpreter.run(text), fields_of(model, text))


def _as_float(packed: PackedLinear) -> nn.Module:
    made = nn.Linear(packed.in_features, packed.out_features, bias=packed.bias is not None)
    made.weight = nn.Parameter(packed.weight)
    made.bias = packed.bias
    activation = {None: nn.Identity(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "relu": nn.ReLU()}
    return nn.Sequential(made, activation[packed.activation]).eval()


def test_query_key_and_value_of_different_kinds_are_float32_and_a_note_says_so(
    make_model: Callable[..., Any], make_texts: Callable[..., list[list[int]]], PlanReference: Any
) -> None:
    model = make_model("bert", hidden_size=60, intermediate_size=70)
    exclude = ("encoder.layer.0.attention.self.key",)
    ff.quantize_(model, ff.Int8Config(never_slower=False, exclude=exclude))
    attention = model.encoder.layer[2].attention.self
    factors = torch.linspace(0.5, 2.0, 60)
    attention.value = PackedLinear.from_linear(linear_of(attention.value), factors=factors)
    translation = translate(model)
    kinds = [translation.tensors[f"layers.{number}.qkv.weight"].dtype for number in range(3)]
    assert kinds == [np.float32, np.int8, np.float32]
    assert len(translation.notes) == 2
    assert all("float32" in note for note in translation.notes)
    got = translation.tensors["layers.2.qkv.weight"][120:]
    assert np.allclose(got, attention.value.weight.numpy(), atol=1e-7)
    assert "layers.2.qkv.factors" not in translation.tensors


def linear_of(packed: PackedLinear) -> nn.Linear:
    made = nn.Linear(packed.in_features, packed.out_features)
    made.weight, made.bias = nn.Parameter(packed.weight), packed.bias
    return made


def test_float_tensors_share_the_models_memory_and_cannot_be_written(make_model: Callable[..., Any]) -> None:
    model = make_model("bert")
    tensors = translate(model).tensors
    shared = {
        "embeddings.word": model.embeddings.word_embeddings.weight,
        "layers.1.up.weight": model.encoder.layer[1].intermediate.dense.weight,
        "layers.2.ffn_norm.bias": model.encoder.layer[2].output.LayerNorm.bias,
    }
    for name, parameter in shared.items():
        assert tensors[name].ctypes.data == parameter.data_ptr()
        with pytest.raises(ValueError, match="read-only"):
            tensors[name][0] = 1


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling_gives_sentence_embeddings(
    make_model: Callable[..., Any],
    make_texts: Callable[..., list[list[int]]],
    PlanReference: Any,
    family: str,
    pooling: Any,
    normalize: bool,
) -> None:
    model = make_model(family)
    translation = translate(model, pooling=pooling, normalize=normalize)
    interpreter = PlanReference(translation.plan, translation.tensors)
    for text in make_texts(count=3):
        rows = fields_of(model, text)["last_hidden_state"]
        expected = rows.mean(dim=0) if pooling == "mean" else rows[0]
        if normalize:
            expected = nn.functional.normalize(expected, dim=0)
        assert_same(interpreter.run(text), {"embedding": expected})


def test_word_embeddings_are_rounded_row_by_row(make_model: Callable[..., Any], PlanReference: Any) -> None:
    model = make_model("bert", vocab_size=9000)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7] = 0
    plain, small = translate(model), translate(model, int8_embeddings=True)
    table, scale = small.tensors["embeddings.word"], small.tensors["embeddings.word.scale"]
    assert table.dtype == np.int8
    assert np.abs(table).max(axis=1).tolist() == [127] * 7 + [0] + [127] * 8992
    error = np.abs(table * scale[:, None] - plain.tensors["embeddings.word"])
    assert (error <= 0.5001 * scale[:, None]).all()
    got = PlanReference(small.plan, small.tensors).run([5, 6, 8999])["last_hidden_state"]
    expected = PlanReference(plain.plan, plain.tensors).run([5, 6, 8999])["last_hidden_state"]
    assert torch.cosine_similarity(got, expected, dim=-1).min() > 0.9995


def test_outputs_that_the_configuration_asks_for_in_vain_are_noted(make_model: Callable[..., Any]) -> None:
    model = make_model("bert")
    assert not translate(model).notes
    model.config.output_hidden_states = True
    (note,) = translate(model).notes
    assert "output_hidden_states" in note


def test_options_of_the_configuration_without_effect_are_noted(make_model: Callable[..., Any]) -> None:
    notes = translate(make_model("bert", output_hidden_states=True, return_dict=False)).notes
    assert len(notes) == 2
    assert "output_hidden_states=True" in notes[0]
    assert "return_dict=False" in notes[1]
