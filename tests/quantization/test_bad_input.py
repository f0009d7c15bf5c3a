# SPDX-License-Identifier: MIT
"""Whatever is wrong is said before the first layer is touched: the error names the value, the model is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastformers as ff
from fastformers import errors
from fastformers.modules import PackedLinear


def set_weight(value: float) -> Callable[[nn.Sequential], None]:
    def change(model: nn.Sequential) -> None:
        with torch.no_grad():
            model[2].weight[7, 5] = value

    return change


def set_bias(model: nn.Sequential) -> None:
    with torch.no_grad():
        model[2].bias[9] = float("nan")


def widen(model: nn.Sequential) -> None:
    model.append(nn.Linear(65_537, 1, bias=False))


def to_meta(model: nn.Sequential) -> None:
    model[3] = nn.LayerNorm(48, device="meta")


CASES: list[tuple[str, Callable[[nn.Sequential], object], type[Exception], str]] = [
    (
        "NaN weight",
        set_weight(float("nan")),
        errors.NonFiniteError,
        r"2\.weight\[7, 5\] is nan.*exclude=\('2',\)",
    ),
    ("infinite weight", set_weight(float("inf")), errors.NonFiniteError, r"2\.weight\[7, 5\] is inf"),
    ("NaN bias", set_bias, errors.NonFiniteError, r"2\.bias\[9\] is nan"),
    (
        "half",
        lambda model: model[4].half(),
        errors.DtypeError,
        r"4\.weight is torch.float16.*model.float\(\)",
    ),
    ("double", lambda model: model.double(), errors.DtypeError, r"0\.weight is torch.float64"),
    ("too deep", widen, errors.ShapeError, r"5 has in_features 65537.*65536.*exclude=\('5',\)"),
    ("other device", to_meta, errors.DeviceError, r"3\.weight is on meta.*model.cpu\(\)"),
    (
        "training inside",
        lambda model: model.append(nn.Dropout(0.1)),
        errors.UnsupportedModelError,
        r"5 is in training mode.*model.eval\(\)",
    ),
    ("training", lambda model: model.train(), errors.UnsupportedModelError, r"model.eval\(\)"),
]


@pytest.mark.parametrize(
    ("change", "error", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_model_that_cannot_be_converted_is_refused_untouched(
    plain: nn.Sequential,
    plain_inputs: list[Tensor],
    change: Callable[[nn.Sequential], object],
    error: type[Exception],
    words: str,
) -> None:
    change(plain)
    modules = list(plain)
    with pytest.raises(error, match=words) as raised:
        ff.quantize_(plain, ff.Int8Config(never_slower=False), texts=plain_inputs)
    assert isinstance(raised.value, errors.FastformersError)
    assert all(before is after for before, after in zip(modules, plain, strict=True))
    assert not any(isinstance(module, PackedLinear) for module in plain.modules())


def test_an_excluded_layer_may_be_anything(plain: nn.Sequential, plain_inputs: list[Tensor]) -> None:
    set_weight(1e38)(plain)
    plain.append(nn.Linear(30, 40).double())
    plain[4].register_forward_hook(lambda module, inputs, output: output)
    with torch.no_grad():
        plain[2].weight[7, 5] = 0.5
    plain[5].float()
    config = ff.Int8Config(never_slower=False, exclude=("2", "5"))
    report = ff.quantize_(plain, config, texts=plain_inputs)
    assert [layer.decision for layer in report.layers] == ["int8", "float", "float", "float"]


@pytest.mark.parametrize(
    ("config", "arguments", "error", "words"),
    [
        ({"exclude": ("3.dense",)}, {}, errors.ConfigError, "'3.dense'"),
        ({"rounding": "compensated"}, {}, errors.CalibrationError, "needs calibration"),
        ({"max_disagreement": 0.1}, {}, errors.ConfigError, "needs answers to compare"),
        ({}, {"texts": ["one", "two"]}, errors.CalibrationError, "2 texts are too few"),
        ({}, {"texts": ["text"] * 20}, errors.CalibrationError, "pass tokenizer="),
        (
            {},
            {"texts": [torch.zeros(8, 41)]},
            errors.CalibrationError,
            "Sequential fails on the calibration examples",
        ),
        ({}, {"texts": [torch.full((8, 40), float("nan"))]}, errors.CalibrationError, "NaN"),
    ],
)
def test_wrong_arguments_are_refused_untouched(
    plain: nn.Sequential,
    config: dict[str, Any],
    arguments: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    modules = list(plain)
    with pytest.raises(error, match=words):
        ff.quantize_(plain, ff.Int8Config(never_slower=False, **config), **arguments)
    assert all(before is after for before, after in zip(modules, plain, strict=True))


def test_a_tokenizer_of_another_model_is_told_so(
    make_model: Callable[..., Any], tokenizer: Any, texts: list[str]
) -> None:
    model = make_model("bert", vocab_size=10)
    with pytest.raises(
        errors.CalibrationError, match="do the tokenizer and the examples belong to this model"
    ):
        ff.quantize_(model, tokenizer=tokenizer, texts=texts)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rounding": "up"}, r"rounding is 'up'; allowed: 'nearest', 'compensated'"),
        ({"activation": "per_row"}, "activation is 'per_row'"),
        ({"equalize": 1}, "equalize is 1; allowed: True or False"),
        ({"exclude": "encoder"}, "exclude is 'encoder'; allowed: a list or tuple"),
        ({"exclude": ("",)}, "exclude"),
        ({"exclude": (1,)}, "exclude"),
        ({"max_disagreement": 1.5}, "max_disagreement is 1.5; allowed: a number from 0 to 1"),
        ({"max_disagreement": float("nan")}, "max_disagreement is nan"),
        ({"min_speedup": -1}, "min_speedup is -1"),
        ({"min_speedup": "fast"}, "min_speedup is 'fast'"),
        ({"threads": 0}, "threads is 0; allowed: a whole number from 1 to 1024"),
        ({"threads": True}, "threads is True"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"max_length": 1}, "max_length is 1"),
        ({"max_texts": 7}, "max_texts is 7; allowed: a whole number from 8"),
    ],
)
def test_a_config_refuses_wrong_values(values: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.ConfigError, match=words):
        ff.Int8Config(**values)


def test_a_config_goes_through_json_and_refuses_unknown_fields() -> None:
    import json

    config = ff.Int8Config(rounding="compensated", exclude=["a", "b.*"], max_disagreement=0.01, threads=2)
    assert ff.Int8Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.exclude == ("a", "b.*")
    with pytest.raises(errors.ConfigError, match="no field 'roundng'; did you mean 'rounding'"):
        ff.Int8Config.from_dict({"roundng": "nearest"})
    with pytest.raises(AttributeError):
        config.rounding = "nearest"
