# SPDX-License-Identifier: MIT
"""Configs of distillation refuse wrong values at once and survive JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastformers.config import DistillConfig, TrainConfig
from fastformers.errors import ConfigError


def test_by_default_only_logits_count() -> None:
    config = DistillConfig()
    assert not config.looks_at_tokens
    assert (config.temperature, config.hard_labels) == (1.0, 0.0)


def test_a_config_survives_json() -> None:
    config = DistillConfig(
        temperature=3.0,
        attention=0.5,
        layer_map=[(0, 1), (1, 3)],
        train=TrainConfig(seed=7),  # type: ignore[arg-type]
    )
    assert DistillConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.layer_map == ((0, 1), (1, 3))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("hard_labels", 1.1),
        ("hard_labels", -0.1),
        ("embeddings", -1.0),
        ("hidden_states", True),
        ("attention", float("inf")),
        ("hidden_distance", "l1"),
        ("attention_kind", "keys"),
        ("layer_map", "all"),
        ("layer_map", ()),
        ("layer_map", ((0, 1, 2),)),
        ("layer_map", ((0, -1),)),
        ("layer_map", (0, 1)),
        ("layer_map", ((0.5, 1),)),
        ("layer_map", 3),
        ("train", {"epochs": 3}),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"DistillConfig\.{field} is"):
        DistillConfig(**{field: value})


@pytest.mark.parametrize(
    ("choice", "others"),
    [
        ({"layer_map": ((0, 1),)}, {"embeddings": 1.0}),
        ({"hidden_distance": "cosine"}, {"attention": 1.0}),
        ({"attention_kind": "probabilities"}, {"hidden_states": 1.0}),
    ],
)
def test_a_choice_that_no_loss_reads_is_refused(choice: dict[str, Any], others: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"nothing reads it: give .* a weight above 0"):
        DistillConfig(**choice, **others)


def test_an_unknown_field_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        DistillConfig.from_dict({"temprature": 2.0})
