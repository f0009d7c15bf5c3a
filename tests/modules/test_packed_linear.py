# SPDX-License-Identifier: MIT
"""PackedLinear computes the quantized math it documents, on any shape, and refuses what it cannot compute."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fastformers as ff
from fastformers import errors, kernels
from fastformers.kernels import Activation
from fastformers.modules import PackedLinear

Make = Callable[..., nn.Linear]

ACTIVATIONS: list[Activation | None] = [None, "relu", "gelu", "gelu_tanh"]
FUNCTIONS: dict[Activation | None, Callable[[Tensor], Tensor]] = {
    None: lambda y: y,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda y: F.gelu(y, approximate="tanh"),
}


def quantized_math(layer: PackedLinear, x: Tensor) -> Tensor:
    """The documented formula in float64, written out plainly."""
    canonical = layer.canonical()
    inputs = x.reshape(-1, x.shape[-1])
    if canonical.factors is not None:
        inputs = inputs * canonical.factors  # float32, as in the kernel
    inputs = inputs.double()
    span = inputs.reshape(1, -1) if layer.per_tensor else inputs
    low, high = span.amin(1).clamp(max=0), span.amax(1).clamp(min=0)
    step = (high - low) / 255
    zero = torch.round(-low / step)
    q = torch.clamp(torch.round(inputs / step[:, None] + zero[:, None]), 0, 255)
    sums = (q - zero[:, None]) @ canonical.weight.double().T
    y = sums * step[:, None] * canonical.weight_scale.double()
    if canonical.bias is not None:
        y = y + canonical.bias.double()
    return FUNCTIONS[layer.activation](y).reshape(*x.shape[:-1], -1).float()


def one_step(layer: PackedLinear, x: Tensor) -> float:
    """What one unit of one quantized input can change an output by: what a tie rounded the other way costs."""
    canonical = layer.canonical()
    inputs = x if canonical.factors is None else x * canonical.factors
    weight = canonical.weight.abs().amax() * canonical.weight_scale.amax()
    return float((inputs.amax() - inputs.amin()) / 255 * weight)


@pytest.mark.parametrize("columns", [1, 15, 17, 208])
@pytest.mark.parametrize("depth", [26, 78, 234, 313])
@pytest.mark.parametrize("rows", [1, 7])
def test_output_is_the_documented_quantized_math(
    isa: str, make_linear: Make, rows: int, depth: int, columns: int
) -> None:
    x = torch.randn(rows, depth, generator=torch.Generator().manual_seed(rows))
    for activation in ACTIVATIONS:
        factors = None if activation is None else torch.linspace(0.5, 2, depth)
        layer = PackedLinear.from_linear(make_linear(depth, columns), activation, factors=factors)
        got, expected = layer(x), quantized_math(layer, x)
        assert got.shape == (rows, columns)
        difference = (got - expected).abs()
        assert float(difference.max()) <= 1.2 * one_step(layer, x)  # at most one tie goes the other way
        assert float(difference.median()) <= 3e-6 * max(1.0, float(expected.abs().max()))
    assert kernels.last_used_isa() == isa


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_close_to_the_float_layer(make_linear: Make, activation: Activation | None) -> None:
    linear = make_linear(384, 208)
    x = torch.randn(64, 384, generator=torch.Generator().manual_seed(1))
    expected = FUNCTIONS[activation](linear(x)).detach()
    noise = (PackedLinear.from_linear(linear, activation)(x) - expected).square().sum()
    assert float(10 * torch.log10(expected.square().sum() / noise)) > 37  # dB; weights and inputs in 8 bits


def test_per_tensor_uses_one_range_for_the_whole_call(make_linear: Make) -> None:
    layer = PackedLinear.from_linear(make_linear(78, 17), per_tensor=True)
    x = torch.randn(5, 78, generator=torch.Generator().manual_seed(2))
    x[4] *= 100
    assert torch.allclose(layer(x), quantized_math(layer, x), atol=1.2 * one_step(layer, x))
    assert not torch.equal(layer(x)[:4], layer(x[:4]))  # that is the price of it


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_row_does_not_depend_on_the_others(data: st.DataObject) -> None:
    rows, depth = data.draw(st.integers(2, 40)), data.draw(st.integers(1, 97))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    layer = PackedLinear.from_linear(nn.Linear(depth, data.draw(st.integers(1, 70))), "gelu")
    x = torch.randn(rows, depth, generator=generator)
    order = torch.randperm(rows, generator=generator)
    together = layer(x)
    assert torch.equal(layer(x[order]), together[order])
    first = data.draw(st.integers(0, rows - 1))
    assert torch.equal(layer(x[first : first + 1]), together[first : first + 1])
    assert torch.equal(layer(x[:, None, :]), together[:, None, :])


def test_leading_dimensions_are_kept(layer: PackedLinear) -> None:
    x = torch.randn(2, 3, 5, 78)
    y = layer(x)
    assert y.shape == (2, 3, 5, 17)
    assert torch.equal(y, layer(x.reshape(30, 78)).reshape(2, 3, 5, 17))
    assert torch.equal(layer(x[0, 0, 0]), y[0, 0, 0])


@pytest.mark.parametrize("shape", [(0, 78), (3, 0, 78), (0, 0, 78)])
def test_an_empty_batch_gives_an_empty_result(layer: PackedLinear, shape: tuple[int, ...]) -> None:
    y = layer(torch.empty(shape))
    assert y.shape == (*shape[:-1], 17)
    assert y.dtype == torch.float32


def test_views_of_any_layout_give_the_same_bits(layer: PackedLinear) -> None:
    base = torch.randn(4, 6, 160)
    views = {
        "first token": base[:, 0, :78],
        "slice of the last dimension": base[..., 40:118],
        "every other row": base[:, ::2, :78],
        "transposed": base[..., :78].transpose(0, 1),
        "strided last dimension": base[..., 1:157:2],
        "one row repeated": base[:1, 0, :78].expand(5, 78),
        "columns as rows": torch.randn(78, 9).T,
    }
    for name, view in views.items():
        assert torch.equal(layer(view), layer(view.contiguous())), name


def test_input_is_not_changed_and_output_is_new(layer: PackedLinear) -> None:
    x = torch.randn(4, 78)
    before = x.clone()
    first, second = layer(x), layer(x)
    assert len({tensor.data_ptr() for tensor in (x, first, second)}) == 3
    assert torch.equal(x, before)


def test_output_never_requires_grad(layer: PackedLinear) -> None:
    x = torch.randn(2, 78, requires_grad=True)
    assert not layer(x).requires_grad
    assert not layer(nn.Parameter(torch.randn(2, 78))).requires_grad
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_hostile_rows_stay_alone(isa: str, make_linear: Make) -> None:
    layer = PackedLinear.from_linear(make_linear(78, 17))
    x = torch.randn(5, 78)
    x[1, 3], x[2, 0], x[3] = float("nan"), float("inf"), 0
    y = layer(x)
    assert y[1].isnan().all()
    assert y[2].isnan().all()
    assert torch.equal(y[3], layer.bias.detach())
    assert torch.equal(y[[0, 4]], layer(x[[0, 4]]))


def test_a_column_of_zeros_gives_the_bias(make_linear: Make) -> None:
    linear = make_linear(78, 17)
    with torch.no_grad():
        linear.weight[5] = 0
    y = PackedLinear.from_linear(linear)(torch.randn(3, 78))
    assert torch.equal(y[:, 5], linear.bias.detach()[5].expand(3))


def test_a_layer_without_bias(make_linear: Make) -> None:
    linear = make_linear(78, 17, bias=False)
    layer = PackedLinear.from_linear(linear)
    assert layer.bias is None
    x = torch.randn(3, 78)
    assert torch.allclose(layer(x), linear(x), atol=0.3)
    assert torch.equal(layer(torch.zeros(1, 78)), torch.zeros(1, 17))


def test_from_linear_rounds_as_the_kernels_do(make_linear: Make) -> None:
    linear = make_linear(78, 17)
    rounded, scale = kernels.quantize_weight(linear.weight.detach())
    canonical = PackedLinear.from_linear(linear).canonical()
    assert np.array_equal(canonical.weight.numpy(), rounded)
    assert np.array_equal(canonical.weight_scale.numpy(), scale)


def test_weight_is_what_the_layer_multiplies_by(make_linear: Make) -> None:
    linear = make_linear(78, 17)
    for factors in (None, torch.linspace(0.5, 2, 78)):
        layer = PackedLinear.from_linear(linear, factors=factors)
        worst = (layer.weight - linear.weight).abs().amax(1)
        largest = linear.weight.abs().amax(1) * (1 if factors is None else 4)
        assert bool((worst <= largest / 127 / 2 * 1.01).all())


def test_threads_at_once_give_the_same_bits(layer: PackedLinear) -> None:
    inputs = [torch.randn(9, 78) for _ in range(8)]
    expected = [layer(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(layer, inputs * 10))
    assert all(torch.equal(y, expected[place % 8]) for place, y in enumerate(found))


def test_is_called_by_keyword_as_a_float_layer_is(layer: PackedLinear) -> None:
    x = torch.randn(2, 78)
    assert torch.equal(layer(input=x), layer(x))


def test_a_bias_and_factors_that_were_taken_away_are_not_applied(make_linear: Make) -> None:
    linear = make_linear(78, 17)
    x = torch.randn(3, 78)
    with torch.no_grad():
        bare = PackedLinear.from_linear(linear)(x) - linear.bias
    layer = PackedLinear.from_linear(linear, factors=torch.full((78,), 2.0))
    layer(x)
    layer.bias = None
    # Factors of 2 change no bit; taking the bias off the other layer's results rounds: measured 2e-6 of 19.
    assert torch.allclose(layer(x), bare, rtol=0, atol=2e-5)
    layer.input_factors = None
    assert torch.allclose(layer(x), bare / 2, rtol=0, atol=2e-5)


def test_describes_itself(layer: PackedLinear) -> None:
    text = repr(layer)
    for part in ("in_features=78", "out_features=17", "bias=True", "activation=gelu", f"isa={layer.isa}"):
        assert part in text


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.randn(2, 78).half(), errors.DtypeError, "float16"),
        (torch.randn(2, 78).double(), errors.DtypeError, "float64"),
        (torch.ones(2, 78, dtype=torch.int64), errors.DtypeError, "int64"),
        (torch.randn(2, 77), errors.ShapeError, "77"),
        (torch.tensor(1.0), errors.ShapeError, "dimension"),
        (torch.empty(2, 78, device="meta"), errors.DeviceError, "meta"),
        (torch.randn(2, 78).to_sparse(), errors.DeviceError, "sparse"),
        (torch._neg_view(torch.randn(2, 78)), errors.DtypeError, r"resolve_neg\(\)"),
        (np.ones((2, 78), np.float32), errors.DtypeError, "ndarray"),
    ],
)
def test_refuses_other_inputs_and_says_why(
    layer: PackedLinear, x: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        layer(x)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"activation": "tanh"}, errors.ConfigError, "'tanh'.*'relu'"),
        ({"factors": torch.ones(7)}, errors.ShapeError, "factors.*7"),
        ({"factors": torch.zeros(78)}, errors.ShapeError, r"factors\[0\] is 0"),
        ({"factors": torch.full((78,), float("inf"))}, errors.NonFiniteError, "inf"),
        ({"factors": torch.ones(78, dtype=torch.float64)}, errors.DtypeError, "factors.*float64"),
    ],
)
def test_from_linear_refuses(
    make_linear: Make, change: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        PackedLinear.from_linear(make_linear(78, 17), **change)


def test_from_linear_refuses_weights_it_cannot_round(make_linear: Make) -> None:
    for spoilt, error in ((float("nan"), errors.NonFiniteError), (float("-inf"), errors.NonFiniteError)):
        linear = make_linear(78, 17)
        with torch.no_grad():
            linear.weight[3, 5] = spoilt
        with pytest.raises(error, match=r"\[3, 5\]"):
            PackedLinear.from_linear(linear)
    with pytest.raises(errors.DtypeError, match="bfloat16"):
        PackedLinear.from_linear(make_linear(78, 17).bfloat16())
    with pytest.raises(errors.DeviceError, match="meta"):
        PackedLinear.from_linear(nn.Linear(78, 17, device="meta"))
    with pytest.raises(errors.ShapeError, match="65537"):
        PackedLinear.from_linear(nn.Linear(65_537, 1))


def test_from_quantized_refuses_what_is_not_canonical() -> None:
    weight, scale = torch.zeros(17, 78, dtype=torch.int8), torch.ones(17)
    spoilt = weight.clone()
    spoilt[2, 1] = -128
    for arguments, error in (
        ((weight.float(), scale), errors.DtypeError),
        ((spoilt, scale), errors.ShapeError),
        ((weight, scale[:3]), errors.ShapeError),
        ((weight, -scale), errors.ShapeError),
        ((weight, scale * float("nan")), errors.NonFiniteError),
        ((weight, scale, torch.ones(3)), errors.ShapeError),
        ((weight[0], scale), errors.ShapeError),
    ):
        with pytest.raises(error):
            PackedLinear.from_quantized(*arguments)


def test_public_name() -> None:
    assert ff.PackedLinear is PackedLinear
