# SPDX-License-Identifier: MIT
"""compat.quantize_dynamic takes the place of the call that torch deprecated, with the same arguments."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fastformers as ff
from fastformers import errors
from fastformers.modules import PackedLinear


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 48))
    return nn.Sequential(body, nn.LayerNorm(48), nn.Linear(48, 30)).eval()


X = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))


def packed(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, PackedLinear)]


@pytest.mark.parametrize(
    "spec", [None, {nn.Linear}, [nn.Linear], {nn.Linear: "anything"}, {"0": True, "2": True}]
)
def test_every_linear_of_a_copy_is_converted(model: nn.Sequential, spec: Any) -> None:
    before = copy.deepcopy(model)
    converted = ff.compat.quantize_dynamic(model, spec, dtype=torch.qint8)
    assert packed(converted) == ["0.0", "0.2", "2"]
    assert not packed(model)
    assert torch.equal(model(X), before(X))
    assert torch.allclose(converted(X), model(X), atol=0.1)


def test_arguments_go_by_position_as_in_torch(model: nn.Sequential) -> None:
    assert packed(ff.compat.quantize_dynamic(model, {nn.Linear}, torch.qint8, None, False))


def test_in_place_changes_the_model_itself(model: nn.Sequential) -> None:
    assert ff.compat.quantize_dynamic(model, inplace=True) is model
    assert packed(model) == ["0.0", "0.2", "2"]


def test_modules_are_chosen_by_name(model: nn.Sequential) -> None:
    assert packed(ff.compat.quantize_dynamic(model, {"0"})) == ["0.0", "0.2"]
    assert packed(ff.compat.quantize_dynamic(model, {"0.2", "2"})) == ["0.2", "2"]
    assert packed(ff.compat.quantize_dynamic(model, {nn.Linear: 1, "0.2": None})) == ["0.0", "2"]


def test_a_block_used_in_several_places_goes_by_any_of_its_names() -> None:
    block = nn.Sequential(nn.Linear(40, 40))
    model = nn.Sequential(block, block, nn.Linear(40, 30))
    assert packed(ff.compat.quantize_dynamic(model, {"1"})) == ["0.0"]
    assert packed(ff.compat.quantize_dynamic(model, {nn.Linear: 1, "1": None})) == ["2"]


def test_no_calibration_and_no_timing_takes_place(
    model: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr(nn.Sequential, "forward", forbidden)
    converted = ff.compat.quantize_dynamic(model)
    assert converted[2].input_factors is None


def test_torchs_transformer_encoder_leaves_its_fast_path() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    x = torch.randn(3, 5, 32)
    converted = ff.compat.quantize_dynamic(model)
    assert packed(converted) == [
        "layers.0.linear1",
        "layers.0.linear2",
        "layers.1.linear1",
        "layers.1.linear2",
    ]
    with torch.no_grad():
        assert torch.allclose(converted(x), model(x), atol=0.1)


def spoil(model: nn.Sequential) -> None:
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("change", "arguments", "error", "words"),
    [
        (None, {"dtype": torch.float16}, errors.ConfigError, "float16; allowed: torch.qint8"),
        (None, {"mapping": {}}, errors.ConfigError, "mapping"),
        (None, {"qconfig_spec": {nn.LSTM}}, errors.UnsupportedModelError, "LSTM"),
        (None, {"qconfig_spec": {"absent"}}, errors.ConfigError, "'absent'"),
        (spoil, {}, errors.NonFiniteError, r"2.weight\[0, 0\]"),
        (lambda model: model.double(), {}, errors.DtypeError, "float64"),
    ],
)
def test_what_is_not_supported_is_refused(
    model: nn.Sequential,
    change: Callable[[nn.Sequential], object] | None,
    arguments: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    if change is not None:
        change(model)
    with pytest.raises(error, match=words):
        ff.compat.quantize_dynamic(model, inplace=True, **arguments)
    assert not packed(model)
