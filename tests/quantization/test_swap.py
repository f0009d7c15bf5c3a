# SPDX-License-Identifier: MIT
"""A change that is not committed leaves no trace: same modules, same bits, whether kept in memory or in a file."""

from __future__ import annotations

import gc
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fastformers as ff
from fastformers.modules import PackedLinear
from fastformers.quantization.plan import LayerPlan, plan_layers
from fastformers.quantization.swap import Swap

Snapshot = Callable[[nn.Module], dict[str, Any]]
Same = Callable[[dict[str, Any], dict[str, Any]], bool]


def swap_all(swap: Swap, model: nn.Module) -> list[LayerPlan]:
    plans = [plan for plan in plan_layers(model, ff.Int8Config()) if plan.reason is None]
    swap.leave_fast_paths(model, plans)
    for plan in plans:
        assert plan.linear is not None
        swap.replace_layer(plan, PackedLinear.from_linear(plan.linear, plan.activation))
    return plans


def transformer() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, 2).eval()


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_not_committed_is_undone(
    plain: nn.Sequential, snapshot: Snapshot, same: Same, keep: bool
) -> None:
    for model in (plain, transformer()):
        before = snapshot(model)
        with Swap(keep) as swap:
            swap_all(swap, model)
            assert not same(snapshot(model), before)
        assert same(snapshot(model), before)
        assert not any(isinstance(module, PackedLinear) for module in model.modules())


@pytest.mark.parametrize("keep", [True, False])
def test_an_exception_undoes_and_is_passed_on(
    plain: nn.Sequential, snapshot: Snapshot, same: Same, keep: bool
) -> None:
    before = snapshot(plain)

    def interrupted() -> None:
        with Swap(keep) as swap:
            swap_all(swap, plain)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same(snapshot(plain), before)


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_committed_stays(plain: nn.Sequential, keep: bool) -> None:
    with Swap(keep) as swap:
        swap_all(swap, plain)
        swap.commit()
    assert [type(module).__name__ for module in plain] == [
        "PackedLinear",
        "Identity",
        "PackedLinear",
        "LayerNorm",
        "PackedLinear",
    ]
    assert not any(module.training for module in plain.modules())


def test_kept_layers_come_back_as_the_same_objects(plain: nn.Sequential) -> None:
    modules = list(plain)
    with Swap(keep=True) as swap:
        swap_all(swap, plain)
    assert all(before is after for before, after in zip(modules, plain, strict=True))


def test_stored_layers_come_back_with_all_they_had() -> None:
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40, bias=False))
    model[0].note = "kept"
    model[0].weight.requires_grad_(False)
    bias = model[0].bias
    with Swap(keep=False) as swap:
        swap_all(swap, model)
    assert type(model[0]) is nn.Linear
    assert model[0].note == "kept"
    assert model[0].bias is bias
    assert not model[0].weight.requires_grad
    assert model[1].weight.requires_grad
    assert model[1].bias is None
    assert model[1](torch.zeros(1, 40)).shape == (1, 40)


def test_weights_are_freed_as_soon_as_they_are_replaced(plain: nn.Sequential) -> None:
    weights = [weakref.ref(plain[place].weight) for place in (0, 2, 4)]
    with Swap(keep=False) as swap:
        swap_all(swap, plain)
        gc.collect()
        assert [weight() for weight in weights] == [None, None, None]
        swap.commit()


def test_a_layer_in_several_places_is_replaced_and_restored_in_all() -> None:
    linear = nn.Linear(40, 40)
    model = nn.ModuleDict({"one": linear, "other": nn.Sequential(linear)})
    for keep in (True, False):
        with Swap(keep) as swap:
            swap_all(swap, model)
            assert model["one"] is model["other"][0]
            assert isinstance(model["one"], PackedLinear)
        assert model["one"] is model["other"][0]
        assert type(model["one"]) is nn.Linear


def test_without_room_for_a_file_layers_are_held_in_memory(
    plain: nn.Sequential, snapshot: Snapshot, same: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    before = snapshot(plain)
    with Swap(keep=False) as swap:
        swap_all(swap, plain)
    assert same(snapshot(plain), before)
    assert "No space left" in swap.notes[0]
