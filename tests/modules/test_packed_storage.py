# SPDX-License-Identifier: MIT
"""A packed layer is stored in canonical form, copied and moved like any module, and never computes from stale bytes."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fastformers import errors, kernels
from fastformers.modules import PackedLinear

X = torch.randn(5, 78, generator=torch.Generator().manual_seed(3))


def test_state_dict_is_canonical_and_never_packed(isa: str, layer: PackedLinear) -> None:
    state = layer.repack().state_dict()
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()} == {
        "weight": (torch.int8, (17, 78)),
        "weight_scale": (torch.float32, (17,)),
        "bias": (torch.float32, (17,)),
        "input_factors": (torch.float32, (78,)),
    }


def test_state_dict_is_the_same_on_every_instruction_set(layer: PackedLinear) -> None:
    before = layer.state_dict()
    for isa in kernels.available_isas():
        with kernels.use_isa(isa):
            after = layer.repack().state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
    layer.repack()


def test_state_dict_round_trip_gives_the_same_bits(isa: str, layer: PackedLinear) -> None:
    expected = layer.repack()(X)
    other = PackedLinear(78, 17, activation="gelu", input_factors=True)
    assert not torch.equal(other(X), expected)
    result = other.load_state_dict(layer.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert torch.equal(other(X), expected)


def test_state_dict_goes_through_torch_save_without_pickled_code(layer: PackedLinear) -> None:
    file = io.BytesIO()
    torch.save(nn.Sequential(layer).state_dict(), file)
    file.seek(0)
    other = nn.Sequential(PackedLinear(78, 17, activation="gelu", input_factors=True))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(X), layer(X))


def test_constructor_gives_zeros_and_the_bias() -> None:
    assert torch.equal(PackedLinear(78, 17)(X), torch.zeros(5, 17))
    assert PackedLinear(78, 17, bias=False).bias is None
    for sizes in ((0, 17), (78, 0), (65_537, 1)):
        with pytest.raises(errors.ShapeError):
            PackedLinear(*sizes)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: without(state, "weight"), 'Missing key.*"weight"'),
        (lambda state: without(state, "weight_scale"), 'Missing key.*"weight_scale"'),
        (lambda state: without(state, "bias"), 'Missing key.*"bias"'),
        (lambda state: {**state, "packed": state["weight"]}, 'Unexpected key.*"packed"'),
        (lambda state: {**state, "weight": state["weight"].float()}, "weight must be int8, got float32"),
        (lambda state: {**state, "weight": state["weight"][:, :7]}, r"weight has shape \[17, 7\]"),
        (lambda state: {**state, "weight_scale": -state["weight_scale"]}, "scale of column 0 is negative"),
        (lambda state: {**state, "input_factors": -state["input_factors"]}, r"factors\[0\]"),
        (lambda state: {**state, "bias": state["bias"].double()}, "bias must be float32"),
    ],
)
def test_a_wrong_state_dict_is_refused_and_changes_nothing(
    layer: PackedLinear, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str
) -> None:
    expected = layer(X)
    with pytest.raises(RuntimeError, match=words):
        layer.load_state_dict(change(layer.state_dict()))
    assert torch.equal(layer(X), expected)


def test_copies_and_pickles_give_the_same_bits(isa: str, layer: PackedLinear) -> None:
    layer.repack()
    twin, thawed = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    for other in (twin, thawed):
        assert torch.equal(other(X), layer(X))
        assert other.packed.data_ptr() != layer.packed.data_ptr()
        assert not other.training
    with torch.no_grad():
        twin.bias.add_(1)
    assert not torch.equal(twin(X), layer(X))


def test_a_pickle_holds_no_packed_bytes(layer: PackedLinear) -> None:
    assert layer.packed.numpy().tobytes()[64:] not in pickle.dumps(layer)
    state = layer.__getstate__()
    assert state["_buffers"]["packed"] is None


def test_a_deep_copy_keeps_hooks(layer: PackedLinear) -> None:
    seen: list[int] = []
    layer.register_forward_hook(lambda *_: seen.append(1))
    copy.deepcopy(layer)(X)
    assert seen == [1]


def test_one_copy_of_the_weights_is_held(layer: PackedLinear) -> None:
    held = [tensor for tensor in vars(layer).values() if isinstance(tensor, Tensor)]
    assert not held
    assert set(dict(layer.named_buffers())) == {"packed", "input_factors"}
    assert set(dict(layer.named_parameters())) == {"bias"}


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.half(),
        lambda layer: layer.double(),
        lambda layer: layer.to(torch.bfloat16),
        lambda layer: layer.type(torch.float16),
        lambda layer: layer.to("cpu"),
        lambda layer: layer.float(),
        lambda layer: layer.share_memory(),
        lambda layer: layer.requires_grad_(True),
    ],
)
def test_stays_float32_and_int8_whatever_dtype_is_asked_for(
    layer: PackedLinear, change: Callable[[PackedLinear], object]
) -> None:
    expected = layer(X)
    change(layer)
    assert torch.equal(layer(X), expected)
    assert layer.bias.dtype == layer.input_factors.dtype == torch.float32
    assert layer.packed.dtype == torch.uint8


def test_cannot_leave_the_cpu(layer: PackedLinear) -> None:
    expected = layer(X)
    with pytest.raises(errors.DeviceError, match="meta"):
        layer.to("meta")
    assert torch.equal(layer(X), expected)


def test_a_new_bias_is_seen_and_checked(layer: PackedLinear) -> None:
    zero = torch.zeros(1, 78)
    layer.activation = None
    layer.bias.data = torch.full((17,), 3.0)
    assert torch.equal(layer(zero), torch.full((1, 17), 3.0))
    with torch.no_grad():
        layer.bias.fill_(4.0)
    assert torch.equal(layer(zero), torch.full((1, 17), 4.0))
    layer.bias.data = torch.zeros(3)
    with pytest.raises(errors.ShapeError, match="bias has shape"):
        layer(zero)


def test_another_instruction_set_needs_repacking(layer: PackedLinear) -> None:
    others = [isa for isa in kernels.available_isas() if isa != layer.isa]
    if not others or "FASTFORMERS_ISA" in os.environ:
        pytest.skip("one instruction set only")
    expected, packed_for = layer(X), layer.isa
    with kernels.use_isa(others[0]):
        with pytest.raises(errors.IsaError, match=f"packed for '{packed_for}'.*repack"):
            layer(X)
        with pytest.raises(errors.IsaError):
            torch.ops.fastformers.packed_linear(X, layer.packed, layer.bias, None, 17, 0, False)
        assert torch.equal(layer.repack()(X), expected)
        assert layer.isa == others[0]
    layer.repack()


def test_cannot_be_told_apart_from_other_modules_by_a_parent(layer: PackedLinear) -> None:
    model = nn.Sequential(nn.LayerNorm(78), layer, nn.Linear(17, 3)).eval()
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(X), model(X))
    assert {name for name, _ in model.named_parameters()} >= {"1.bias", "2.weight"}
