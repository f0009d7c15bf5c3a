# SPDX-License-Identifier: MIT
"""Fewer layers compute what those layers compute, and the config knows how many there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fastformers as ff
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.layer_shapes import shapes_of

Make = Callable[..., Any]
Batches = list[dict[str, Tensor]]


def test_layers_that_add_nothing_are_dropped_without_a_change(
    make_model: Make, examples: Batches, logits_of: Callable[..., Tensor]
) -> None:
    model = make_model("modernbert")
    layer = model.model.layers[1]
    with torch.no_grad():
        layer.attn.Wo.weight.zero_()
        layer.mlp.Wo.weight.zero_()
    before = logits_of(model, examples)
    ff.drop_layers_(model, (0, 2))
    assert torch.equal(logits_of(model, examples), before)
    assert model.config.layer_types == ["full_attention", "sliding_attention"]


def test_what_is_left_is_those_layers_and_saves_and_compiles(
    make_model: Make, examples: Batches, logits_of: Callable[..., Tensor], tmp_path: Path, family: str
) -> None:
    model = make_model(family)
    layers = list(parts_of(model).layers)
    ff.drop_layers_(model, [0, 2])
    assert list(parts_of(model).layers) == [layers[0], layers[2]]
    assert model.config.num_hidden_layers == 2
    ff.prune_(model, ff.PruneConfig(heads=2, ffn=0.5), examples)
    ff.save_pretrained(model, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    assert len(shapes_of(loaded)) == 2
    assert torch.equal(logits_of(loaded, examples), logits_of(model, examples))
    exact = ff.compile(loaded, ff.CompileConfig(int8=None, attention="float32"))
    # Two ways of summing the same float32 products: 1.2e-6 of logits up to 2.4 when measured.
    torch.testing.assert_close(logits_of(exact, examples), logits_of(model, examples), rtol=0, atol=2e-5)


def test_hidden_states_are_those_of_the_layers_left(make_model: Make, examples: Batches) -> None:
    model = make_model("bert")
    ff.drop_layers_(model, (1, 2))
    states = model(**examples[0], output_hidden_states=True, output_attentions=False).hidden_states
    assert len(states) == 3


def test_another_model_of_the_same_config_is_left_alone(make_model: Make) -> None:
    model = make_model("bert")
    other = type(model)(model.config)
    ff.drop_layers_(model, (0,))
    assert model.config is model.bert.config is model.bert.encoder.config
    assert (model.config.num_hidden_layers, other.config.num_hidden_layers) == (1, 3)


@pytest.mark.parametrize("keep", [(0, 3), (0, 1), (0, 1, 3)])
def test_layers_of_one_kind_of_attention_are_saved_and_loaded(
    make_model: Make,
    examples: Batches,
    logits_of: Callable[..., Tensor],
    tmp_path: Path,
    keep: tuple[int, ...],
) -> None:
    model = make_model(
        "modernbert", num_hidden_layers=5
    )  # layers 0 and 3 see everything, the others look nearby
    ff.drop_layers_(model, keep)
    ff.save_pretrained(model, tmp_path / "model")
    loaded = ff.load_pretrained_torch(tmp_path / "model")
    assert torch.equal(logits_of(loaded, examples), logits_of(model, examples))
    kinds = set(model.config.layer_types)
    assert set(model.model.rotary_emb.layer_types) == set(model.model.rotary_emb.rope_type) == kinds


@pytest.mark.parametrize("keep", [iter((0, 2)), np.array([0, 2]), range(0, 3, 2)])
def test_places_come_in_any_iterable(make_model: Make, keep: Any) -> None:
    model = make_model("bert")
    ff.drop_layers_(model, keep)
    assert len(model.bert.encoder.layer) == model.config.num_hidden_layers == 2


@pytest.mark.parametrize("keep", [(), (0, 3), (-1, 0), (1, 1), (2, 0), (0.5,), (True,), 2, "02", None])
def test_places_that_are_not_there_are_refused(make_model: Make, keep: Any) -> None:
    model = make_model("bert")
    with pytest.raises(ConfigError, match="from 0 to 2, each once, in ascending order"):
        ff.drop_layers_(model, keep)
    assert len(model.bert.encoder.layer) == model.config.num_hidden_layers == 3


def test_a_part_of_a_model_is_no_model(make_model: Make) -> None:
    with pytest.raises(
        UnsupportedModelError, match="BertEncoder is a part of a BERT model: give the whole BertModel"
    ):
        ff.drop_layers_(make_model("bert").bert.encoder, (0,))


def test_the_first_layer_of_modernbert_stays(make_model: Make) -> None:
    model = make_model("modernbert")
    with pytest.raises(UnsupportedModelError, match="keep layer 0"):
        ff.drop_layers_(model, (1, 2))
    assert len(model.model.layers) == 3
