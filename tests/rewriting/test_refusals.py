# SPDX-License-Identifier: MIT
"""Whatever a plan would not stand for is refused, by name, and with the way out."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastformers import errors
from fastformers.modules import PackedLinear
from fastformers.rewriting import translate
from fastformers.rewriting.families import FAMILIES


def refused(model: nn.Module, says: str, **options: Any) -> None:
    with pytest.raises(errors.UnsupportedModelError, match=says) as raised:
        translate(model, **options)
    assert "ff.quantize_" in str(raised.value)


def bert(name: str = "BertModel", **config: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    made = transformers.BertConfig(**sizes, intermediate_size=32, max_position_embeddings=32, **config)
    return getattr(transformers, name)(made).eval()


def test_unknown_family_lists_those_that_are_known() -> None:
    transformers = pytest.importorskip("transformers")
    albert = transformers.AlbertConfig(
        vocab_size=50, hidden_size=24, num_attention_heads=2, intermediate_size=32, embedding_size=8
    )
    refused(transformers.AlbertModel(albert).eval(), "AlbertModel is of no family")
    refused(nn.Sequential(nn.Linear(4, 4)).eval(), "BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT")


def test_sentence_transformer_is_told_what_to_pass() -> None:
    wrapper = type("SentenceTransformer", (nn.Sequential,), {"__module__": "sentence_transformers.models"})
    refused(wrapper(bert()).eval(), r"model\[0\]\.auto_model")


@pytest.mark.parametrize(
    "name", ["BertForMaskedLM", "BertForMultipleChoice", "BertForNextSentencePrediction"]
)
def test_other_heads_are_named(name: str) -> None:
    refused(bert(name), f"the head of {name} is not covered.*BertForQuestionAnswering")


def test_every_other_head_of_every_family_is_refused() -> None:
    """No class falls through to another head's plan."""
    transformers = pytest.importorskip("transformers")
    for family in FAMILIES:
        module = __import__(family.names.package, fromlist=["__all__"])
        covered = {family.names.model, *family.heads}
        for name in set(module.__all__) - covered:
            kind = getattr(module, name)
            if not issubclass(kind, transformers.PreTrainedModel) or "For" not in name:
                continue
            stranger = kind.__new__(kind)
            nn.Module.__init__(stranger)
            refused(stranger.eval(), "the head of")


def test_decoders_and_cross_attention() -> None:
    refused(bert(is_decoder=True), "decoder")
    refused(bert(is_decoder=True, add_cross_attention=True), "decoder")


def test_relative_positions_of_bert() -> None:
    refused(bert(position_embedding_type="relative_key"), "position_embedding_type 'relative_key'")


@pytest.mark.parametrize("activation", ["gelu_10", "quick_gelu", "mish", "tanh", "linear"])
def test_unknown_activations(activation: str) -> None:
    refused(bert(hidden_act=activation), "layers.0.intermediate.intermediate_act_fn is")


def test_activations_that_are_functions_are_known() -> None:
    model = bert()
    for function, name in ((F.relu, "relu"), (F.silu, "silu"), (F.leaky_relu, None)):
        for layer in model.encoder.layer:
            del layer.intermediate.intermediate_act_fn
            layer.intermediate.intermediate_act_fn = function
        if name is None:
            refused(model, "is function, an activation that is not covered")
        else:
            assert translate(model).plan.activation == name


def test_layers_with_different_activations() -> None:
    model = bert()
    model.encoder.layer[1].intermediate.intermediate_act_fn = nn.ReLU()
    refused(model, "layers with different activations")


def test_norms_with_different_epsilons() -> None:
    model = bert()
    model.encoder.layer[1].output.LayerNorm.eps = 1e-3
    refused(model, "norms with different epsilons")


def test_training_mode() -> None:
    refused(bert().train(), "model.eval")


def test_subclass_that_changes_nothing_is_its_base() -> None:
    model = bert("BertForSequenceClassification")
    plan = translate(model).plan
    kind = type("Mine", (type(model),), {"__init__": lambda self: None, "helper": lambda self: 1})
    model.__class__ = kind
    assert translate(model).plan == plan


def test_subclasses_and_objects_that_change_what_is_computed() -> None:
    model = bert()
    model.encoder.layer[1].output.__class__ = type(
        "Mine", (type(model.encoder.layer[1].output),), {"forward": lambda self, x, y: x}
    )
    refused(model, r"output of BertLayer is .*Mine, which changes BertOutput\.forward")
    model = bert()
    layer = model.encoder.layer[0]
    layer.feed_forward_chunk = types.MethodType(lambda self, x: x, layer)
    refused(model, r"changes BertLayer\.feed_forward_chunk")


@pytest.mark.parametrize(
    "path", ["encoder.layer.1.attention.self", "embeddings", "encoder.layer.0.intermediate"]
)
def test_replaced_modules(path: str) -> None:
    model = bert()
    model.set_submodule(path, nn.Identity())
    refused(model, "Identity, not transformers.models.bert")


def test_hooks() -> None:
    model = bert()
    handle = model.encoder.layer[1].output.dense.register_forward_hook(lambda *_: None)
    refused(model, r"encoder\.layer\.1\.output\.dense has forward hooks")
    handle.remove()
    with torch.no_grad():
        model(torch.tensor([[5, 6]]), output_hidden_states=True)  # installs transformers' own
    assert translate(model).plan.hidden == 24


@pytest.mark.parametrize(
    "path", ["output.dense", "output.LayerNorm", "output.dropout", "intermediate.intermediate_act_fn"]
)
def test_a_forward_that_was_replaced_on_the_object(path: str) -> None:
    model = bert()
    module = model.get_submodule(f"encoder.layer.1.{path}")
    stock = module.forward
    module.forward = lambda *inputs, **options: stock(*inputs, **options)
    refused(model, rf"encoder\.layer\.1\.{path} has a forward of its own")
    module.forward = stock
    assert translate(model).plan.hidden == 24


@pytest.mark.parametrize(
    "path", ["dropout", "bert.embeddings.dropout", "bert.encoder.layer.1.output.dropout"]
)
def test_what_stands_where_dropout_was_must_do_nothing(path: str) -> None:
    model = bert("BertForSequenceClassification")
    model.get_submodule(path).train()
    refused(model, f"{path} is in training mode")
    model.set_submodule(path, nn.Tanh())
    refused(model, f"{path} is .*Tanh, where dropout is expected")
    model.set_submodule(path, nn.Identity())
    assert translate(model).plan.hidden == 24


def test_linears_of_other_classes() -> None:
    model = bert()
    adapted = nn.utils.parametrizations.weight_norm(model.encoder.layer[0].output.dense)
    assert type(adapted) is not nn.Linear
    refused(model, r"output\.dense is .*, not nn\.Linear or PackedLinear")


def test_int8_layers_with_one_range_for_the_batch() -> None:
    model = bert()
    dense = model.encoder.layer[0].output.dense
    model.encoder.layer[0].output.dense = PackedLinear.from_linear(dense, per_tensor=True)
    refused(model, "per_tensor")


def test_fused_activation_where_the_model_has_none() -> None:
    model = bert()
    layer = model.encoder.layer[0]
    layer.output.dense = PackedLinear.from_linear(layer.output.dense, activation="relu")
    refused(model, "output.dense has an activation of its own")
    model = bert()
    intermediate = model.encoder.layer[0].intermediate
    intermediate.dense = PackedLinear.from_linear(intermediate.dense, activation="gelu")
    refused(model, "follows a layer that has an activation of its own")


def test_attention_that_is_somebodys_own() -> None:
    model = bert()
    model.config._attn_implementation_internal = "mine"
    refused(model, "attention implementation 'mine'")
    model = bert()
    model.encoder.layer[1].attention.self.scaling = 1.0
    refused(model, "layers.1 scales attention scores by 1.0")
    model = bert()
    model.encoder.layer[1].attention.self.is_causal = True
    refused(model, "causal")


def test_rotary_positions_of_other_types(make_model: Callable[..., Any]) -> None:
    model = make_model("modernbert")
    model.config.rope_parameters["full_attention"] = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    refused(model, "'linear'")


def test_relative_biases_of_another_number_of_heads(
    make_model: Callable[..., Any], prune: Callable[..., None]
) -> None:
    model = make_model("mpnet")
    prune(model, 2, heads=2)
    refused(model, "layers.2 has 2 heads and the relative position biases")


def test_pooling_of_a_model_with_a_head() -> None:
    with pytest.raises(errors.ConfigError, match=r"compile model\.bert"):
        translate(bert("BertForTokenClassification"), pooling="mean")


def test_weights_of_other_dtypes_and_devices() -> None:
    model = bert()
    model.encoder.layer[1].output.dense.half()
    with pytest.raises(errors.DtypeError, match=r"output\.dense\.weight is torch\.float16.*model\.float"):
        translate(model)
    with pytest.raises(errors.DeviceError, match=r"embeddings\.word_embeddings\.weight is on meta"):
        translate(bert().to("meta"))


def test_weights_that_do_not_fit_each_other() -> None:
    model = bert()
    model.encoder.layer[1].attention.self.value = nn.Linear(24, 12)
    with pytest.raises(errors.ShapeError, match=r"layers\.1\.attention\.self\.value has 12 where .* 24"):
        translate(model)
    model = bert()
    for name in ("query", "key", "value"):
        setattr(model.encoder.layer[0].attention.self, name, nn.Linear(24, 18))
    model.encoder.layer[0].attention.output.dense = nn.Linear(18, 24)
    with pytest.raises(errors.ShapeError, match="18 channels, not a multiple of 12"):
        translate(model)


def test_embeddings_with_nan_are_not_rounded() -> None:
    model = bert()
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[17, 3] = torch.inf
    with pytest.raises(errors.NonFiniteError, match=r"row 17 of embeddings\.word_embeddings"):
        translate(model, int8_embeddings=True)
