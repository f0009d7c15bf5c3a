# SPDX-License-Identifier: MIT
"""``compile``: INT8 encoders answer like the model, which stays as it was bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
from model_families import PREFIXES, family_config
from torch import Tensor, nn

import fastformers as ff
from fastformers import errors
from fastformers.recipes.compile_folder import compile_folder

one_torch_thread = torch_threads.one_torch_thread

#: Of the issue, for random weights.
LEAST_COSINE = 0.999

SIZES: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 168,
    "max_position_embeddings": 70,
    "pad_token_id": 1,
}
_OWN: dict[str, dict[str, Any]] = {"electra": {"embedding_size": 48}, "modernbert": {"local_attention": 16}}


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """``make_model(family, auto_class="AutoModel", **changes)``: a random model with weights of order 1."""
    transformers = pytest.importorskip("transformers")

    def make(family: str, auto_class: str = "AutoModel", **changes: Any) -> Any:
        config = family_config(family, **{**SIZES, **_OWN.get(family, {}), **changes})
        torch.manual_seed(4)
        model = getattr(transformers, auto_class).from_config(config).eval()
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5)
        return model

    return make


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Eight texts of 3 to 60 tokens."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 120, (8, 60), generator=generator)
    mask = (torch.arange(60)[None, :] < torch.tensor([60, 3, 17, 33, 41, 5, 59, 24])[:, None]).long()
    return {"input_ids": ids.where(mask.bool(), torch.tensor(1)), "attention_mask": mask}


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything there is to compare in a model: bits, addresses, classes, attributes."""
    found: dict[str, Any] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found.update({f"address {name}": tensor.data_ptr() for name, tensor in model.named_parameters()})
    found.update({f"module {name}": (type(m), m.training) for name, m in model.named_modules()})
    found["attributes"] = sorted(vars(model))
    return found


def assert_untouched(model: nn.Module, before: dict[str, Any]) -> None:
    after = state_of(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
        assert same, name


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=-1).min())


@pytest.mark.parametrize("family", PREFIXES)
@pytest.mark.parametrize("calibrated", [False, True])
def test_int8_encoder_answers_like_the_model(
    make_model: Callable[..., Any], batch: dict[str, Tensor], family: str, calibrated: bool
) -> None:
    model = make_model(family)
    before = state_of(model)
    examples = [{name: value[:, :30] for name, value in batch.items()}] if calibrated else None
    fast = ff.compile(model, texts=examples)
    assert_untouched(model, before)
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
    got = fast(**batch).last_hidden_state
    kept = batch["attention_mask"].bool()
    assert cosine(got[kept], expected[kept]) >= LEAST_COSINE
    assert not torch.equal(got[kept], expected[kept])
    assert fast.tensors["layers.1.up.weight"].dtype == np.int8
    assert ("layers.1.qkv.factors" in fast.tensors) == calibrated
    assert all(layer.decision == "int8" for layer in fast.report.layers if "layer" in layer.name)
    assert fast.notes == ()


@pytest.mark.parametrize("family", PREFIXES)
def test_int8_bits_do_not_depend_on_batch_or_padding(
    make_model: Callable[..., Any], batch: dict[str, Tensor], family: str
) -> None:
    fast = ff.compile(make_model(family, "AutoModelForSequenceClassification"))
    logits = fast(**batch).logits
    for row, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        ids = batch["input_ids"][row : row + 1, :length]
        assert torch.equal(fast(ids).logits[0], logits[row])
        left = torch.cat((torch.ones(1, 7, dtype=torch.long), ids), dim=1)
        mask = torch.cat((torch.zeros(1, 7), torch.ones(1, length)), dim=1)
        assert torch.equal(fast(left, mask).logits[0], logits[row])


def test_every_layer_float32(make_model: Callable[..., Any], batch: dict[str, Tensor]) -> None:
    model = make_model("bert", "AutoModelForSequenceClassification")
    config = ff.CompileConfig(int8=None, attention="float32")
    fast = ff.compile(model, config)
    with torch.no_grad():
        assert (fast(**batch).logits - model(**batch).logits).abs().max() <= 1e-4
    assert all(array.dtype == np.float32 for array in fast.tensors.values())
    assert fast.report is None
    with pytest.raises(errors.ConfigError, match="int8=None"):
        ff.compile(model, config, texts=[batch])


def test_model_with_int8_layers_is_taken_as_it_is(
    make_model: Callable[..., Any], batch: dict[str, Tensor]
) -> None:
    model = make_model("roberta")
    ff.quantize_(model, ff.Int8Config(never_slower=False, exclude=("encoder.layer.1.*",)), texts=[batch])
    before = state_of(model)
    fast = ff.compile(model)
    assert_untouched(model, before)
    kinds = [fast.tensors[f"layers.{number}.up.weight"].dtype for number in range(3)]
    assert kinds == [np.int8, np.float32, np.int8]
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
    kept = batch["attention_mask"].bool()
    assert cosine(fast(**batch).last_hidden_state[kept], expected[kept]) >= 0.9999
    with pytest.raises(errors.ConfigError, match="INT8 already"):
        ff.compile(model, texts=[batch])


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_compensated_rounding_leaves_no_layer_float(
    make_model: Callable[..., Any], batch: dict[str, Tensor], family: str
) -> None:
    fast = ff.compile(make_model(family), ff.Int8Config(rounding="compensated"), texts=[batch])
    assert fast.notes == ()
    kinds = {fast.tensors[f"layers.{number}.qkv.weight"].dtype for number in range(3)}
    assert kinds == {np.dtype(np.int8)}


@pytest.mark.parametrize(
    "asked", [{"rounding": "compensated"}, {"max_disagreement": 0.0}, {"exclude": ("encoder.layer.1",)}]
)
def test_what_would_be_asked_of_int8_layers_in_vain_is_refused(
    make_model: Callable[..., Any], asked: dict[str, Any]
) -> None:
    model = make_model("bert")
    ff.quantize_(model, ff.Int8Config(never_slower=False))
    with pytest.raises(errors.ConfigError, match=f"{next(iter(asked))} .*INT8 already"):
        ff.compile(model, ff.Int8Config(**asked))
    assert ff.compile(model, ff.Int8Config(threads=1)).report is None


def test_two_sources_of_calibration_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="data_dir and texts"):
        compile_folder(tmp_path, tmp_path / "out", data_dir=tmp_path, texts=["a text"] * 8)


def test_int8_config_alone_says_how_layers_are_quantized(make_model: Callable[..., Any]) -> None:
    fast = ff.compile(make_model("bert"), ff.Int8Config(exclude=("encoder.layer.0",), never_slower=True))
    kinds = [fast.tensors[f"layers.{number}.qkv.weight"].dtype for number in range(3)]
    assert kinds == [np.float32, np.int8, np.int8]
    assert not fast.report.config.never_slower


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_base_shapes_with_the_weights_that_transformers_draws(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    base = transformers.AutoConfig.for_model(family, vocab_size=500, attn_implementation="eager")
    torch.manual_seed(6)
    model = transformers.AutoModel.from_config(base).eval()
    ids = torch.randint(4, 500, (2, 24))
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
    got = ff.compile(model)(input_ids=ids).last_hidden_state
    # The lowest of all tokens; 0.9997 and 0.9999.
    assert cosine(got, expected) >= LEAST_COSINE


def test_sentence_embeddings_with_int8_word_embeddings(
    make_model: Callable[..., Any], batch: dict[str, Tensor]
) -> None:
    model = make_model("bert")
    config = ff.CompileConfig(pooling="mean", normalize=True, int8_embeddings=True, threads=2)
    fast = ff.compile(model, config)
    assert fast.tensors["embeddings.word"].dtype == np.int8
    assert fast.threads == 2
    mask = batch["attention_mask"][:, :, None]
    with torch.no_grad():
        expected = (model(**batch).last_hidden_state * mask).sum(dim=1)
    got = fast(**batch).embedding
    assert cosine(got, expected) >= LEAST_COSINE
    # A few float32 roundings: of the sum of squares, its root, and each product.
    assert torch.allclose(got.norm(dim=1), torch.ones(8), atol=1e-6)


def test_configuration_names_its_class(make_model: Callable[..., Any]) -> None:
    model = make_model("bert", "AutoModelForTokenClassification")
    fast = ff.compile(model, ff.CompileConfig(int8=None))
    assert fast.config == {**model.config.to_dict(), "architectures": ["BertForTokenClassification"]}


def test_missed_gate_leaves_the_model_as_it_was(
    make_model: Callable[..., Any], batch: dict[str, Tensor]
) -> None:
    model = make_model("bert", "AutoModelForTokenClassification", num_labels=90)
    before = state_of(model)
    with torch.no_grad():
        expected = model(**batch).logits
    with pytest.raises(errors.GateError):
        ff.compile(model, ff.Int8Config(max_disagreement=0.0), texts=[batch])
    assert_untouched(model, before)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, expected)


def test_unsupported_models_are_refused_before_anything_is_quantized(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastformers.recipes import compiling

    monkeypatch.setattr(compiling, "quantized_twin", lambda *_, **__: pytest.fail("quantized"))
    with pytest.raises(errors.UnsupportedModelError, match="BertForMaskedLM"):
        ff.compile(make_model("bert", "AutoModelForMaskedLM"))
    with pytest.raises(errors.ConfigError, match="pooling"):
        ff.compile(make_model("bert", "AutoModelForTokenClassification"), ff.CompileConfig(pooling="mean"))
    with pytest.raises(
        errors.UnsupportedModelError, match="takes a transformers model, or its folder, not int"
    ):
        ff.compile(3)
    with pytest.raises(errors.ConfigError, match="bert-base-uncased is not a folder"):
        ff.compile("bert-base-uncased")
    with pytest.raises(errors.ConfigError, match="expected CompileConfig"):
        ff.compile(make_model("bert"), {"pooling": "mean"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"int8": True},
        {"int8": ff.Int8Config(activation="per_tensor")},
        {"attention": "bf16"},
        {"pooling": "max"},
        {"normalize": True},
        {"normalize": 1, "pooling": "mean"},
        {"int8_embeddings": None},
        {"threads": 0},
        {"threads": 2.0},
    ],
)
def test_config_refuses_wrong_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigError, match=rf"CompileConfig\.{next(iter(wrong))}"):
        ff.CompileConfig(**wrong)


def test_config_survives_a_round_trip() -> None:
    for config in (
        ff.CompileConfig(),
        ff.CompileConfig(int8=None, pooling="first", normalize=True, threads=4),
        ff.CompileConfig(int8=ff.Int8Config(exclude=("a", "b")), attention="int8", int8_embeddings=True),
    ):
        assert ff.CompileConfig.from_dict(config.to_dict()) == config
    with pytest.raises(errors.ConfigError, match="did you mean 'pooling'"):
        ff.CompileConfig.from_dict({"poolin": "mean"})


def test_deep_copies_of_a_model_are_compiled_alike(
    make_model: Callable[..., Any], batch: dict[str, Tensor]
) -> None:
    model = make_model("electra", "AutoModelForQuestionAnswering", num_labels=2)
    one, other = ff.compile(model), ff.compile(copy.deepcopy(model))
    assert torch.equal(one(**batch).start_logits, other(**batch).start_logits)


def test_a_compiled_encoder_is_not_compiled_again(make_model: Callable[..., Any]) -> None:
    encoder = ff.compile(make_model("bert"), ff.CompileConfig(int8=None))
    with pytest.raises(errors.UnsupportedModelError, match="compiled encoder already"):
        ff.compile(encoder)
