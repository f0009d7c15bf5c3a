# SPDX-License-Identifier: MIT
"""What cannot be trained is refused before the first step, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastformers.config import TrainConfig
from fastformers.errors import ConfigError, NonFiniteError, UnsupportedModelError
from fastformers.modules import PackedLinear
from fastformers.tasks import EncodedExamples, encode, predict_logits
from fastformers.tasks.custom import task_with_labels
from fastformers.training import Objective, train_
from fastformers.training.checks import check_run

MakeData = Callable[..., EncodedExamples]
MakeModel = Callable[..., Any]

SHORT = TrainConfig(max_steps=3, batch_size=4)


@pytest.fixture
def unlabelled(make_data: MakeData) -> EncodedExamples:
    data = make_data(8)
    examples = [*data.examples[:5], replace(data.examples[5], label=None), *data.examples[6:]]
    return encode(examples, data.tokenizer, data.task, max_length=16)


def test_unlabelled_examples_are_named(
    make_model: MakeModel, make_data: MakeData, unlabelled: EncodedExamples
) -> None:
    with pytest.raises(ConfigError, match="example 5 of the training set has no label"):
        train_(make_model(), unlabelled, None, SHORT)
    with pytest.raises(ConfigError, match="example 5 of the validation set has no label"):
        train_(make_model(), make_data(8), unlabelled, SHORT)


def test_empty_sets_are_refused(make_model: MakeModel, make_data: MakeData) -> None:
    empty = make_data(4).subset([])
    with pytest.raises(ConfigError, match="training set holds no examples"):
        train_(make_model(), empty, None, SHORT)
    with pytest.raises(ConfigError, match="validation set holds no examples"):
        train_(make_model(), make_data(4), empty, SHORT)


def test_a_fixed_length_beyond_the_models_positions_is_refused(
    make_model: MakeModel, make_data: MakeData
) -> None:
    data, message = make_data(4), "fixed_length is 33, the model has positions for 32"
    with pytest.raises(ConfigError, match=message):
        train_(make_model(), data, None, replace(SHORT, fixed_length=33))
    with pytest.raises(ConfigError, match=message):
        predict_logits(make_model(), data, 4, fixed_length=33)


def test_another_tasks_validation_set_is_refused(make_model: MakeModel, make_data: MakeData) -> None:
    data = make_data(4)
    other = encode(data.examples, data.tokenizer, task_with_labels(("no", "yes")), max_length=16)
    with pytest.raises(ConfigError, match="must be of one task"):
        train_(make_model(), data, other, SHORT)


def test_a_head_of_another_width_is_refused(make_model: MakeModel, make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match="gives 3 outputs; custom needs 2"):
        train_(make_model(num_labels=3), make_data(4), None, SHORT)


def test_a_fixed_length_that_a_text_exceeds_is_refused(make_model: MakeModel, make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match="encode with max_length=4"):
        train_(make_model(), make_data(8), None, replace(SHORT, fixed_length=4))


def test_frozen_models_are_refused(make_model: MakeModel, make_data: MakeData) -> None:
    with pytest.raises(UnsupportedModelError, match="no parameters to train"):
        train_(make_model().requires_grad_(False), make_data(4), None, SHORT)


def test_int8_layers_are_refused(make_model: MakeModel, make_data: MakeData) -> None:
    model = make_model()
    model.classifier = PackedLinear.from_linear(model.classifier)
    with pytest.raises(UnsupportedModelError, match="train first, then quantize"):
        train_(model, make_data(4), None, SHORT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_are_not_trained(
    make_model: MakeModel, make_data: MakeData, dtype: torch.dtype
) -> None:
    model = make_model().to(dtype)
    with pytest.raises(UnsupportedModelError, match=r"call model\.float\(\) first"):
        train_(model, make_data(4), None, SHORT)
    model.bert.requires_grad_(False)
    model.classifier.float()  # what is frozen may be in half: no step changes it
    check_run(model, make_data(4), None, SHORT, needs_labels=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_a_gpu_is_refused_without_one(make_model: MakeModel, make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        train_(make_model(), make_data(4), None, replace(SHORT, device="cuda"))


def test_a_cpu_does_not_train_in_float16(make_model: MakeModel, make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match="for GPUs"):
        train_(make_model(), make_data(4), None, replace(SHORT, device="cpu", precision="float16"))


def test_a_cpu_without_bfloat16_products_says_so(
    make_model: MakeModel, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(ConfigError, match="no bfloat16 products"):
        train_(make_model(), make_data(4), None, replace(SHORT, device="cpu", precision="bfloat16"))


class Broken(Objective):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.calls = 0

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        self.calls += 1
        logits: Tensor = model(batch["input_ids"]).logits
        return logits.mean() * (self.value if self.calls == 2 else 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(
    make_model: MakeModel, make_data: MakeData, value: float
) -> None:
    with pytest.raises(NonFiniteError, match=r"in step 2: try a lower learning_rate"):
        train_(make_model(), make_data(16), None, SHORT, objective=Broken(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", float("nan")),
        ("max_steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", 2.0),
        ("batch_size", 0),
        ("batch_size", True),
        ("accumulation", 1.5),
        ("weight_decay", -0.1),
        ("warmup", 1.1),
        ("max_grad_norm", -1.0),
        ("seed", -1),
        ("evaluate_every", 0),
        ("patience", 0),
        ("fixed_length", 0),
        ("precision", "int8"),
        ("device", "tpu"),
        ("eval_batch_size", 0),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"TrainConfig.{name}"):
        TrainConfig(**{name: value})


def test_a_config_is_read_back_and_unknown_fields_are_refused() -> None:
    config = TrainConfig(epochs=2, patience=3, precision="bfloat16")
    assert TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="learning_rate"):
        TrainConfig.from_dict({"learning_rat": 1e-3})


def test_patience_without_a_score_to_wait_for_is_refused(make_model: MakeModel, make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match="patience is 2, and there is no validation set"):
        train_(make_model(), make_data(8), None, replace(SHORT, patience=2))
