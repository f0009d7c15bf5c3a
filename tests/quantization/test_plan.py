# SPDX-License-Identifier: MIT
"""Which linears may be swapped is decided beforehand, and every refusal has its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fastformers as ff
from fastformers import errors
from fastformers.modules import PackedLinear
from fastformers.quantization.plan import LayerPlan, plan_layers


def reasons(model: nn.Module, **config: Any) -> dict[str, str | None]:
    return {plan.name: plan.reason for plan in plan_layers(model, ff.Int8Config(**config))}


def plan_of(model: nn.Module, name: str) -> LayerPlan:
    return next(plan for plan in plan_layers(model, ff.Int8Config()) if plan.name == name)


def test_plain_linears_may_all_be_swapped(plain: nn.Sequential) -> None:
    assert reasons(plain) == {"0": None, "2": None, "4": None}
    assert plan_of(plain, "0").activation == "relu"
    assert plan_of(plain, "2").activation is None


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (("encoder.layer.0.attention.self.query",), 11),
        (("encoder.layer.0",), 6),
        (("encoder.layer.*.attention.*",), 4),
        (("encoder.layer.[1]*", "*.query"), 5),
        (("encoder",), 0),
        (("*",), 0),
    ],
)
def test_exclude_takes_names_and_patterns(
    make_model: Callable[..., Any], exclude: tuple[str, ...], left: int
) -> None:
    found = reasons(make_model("bert"), exclude=exclude)
    assert list(found.values()).count(None) == left
    assert "excluded" in found.values()


def test_an_unknown_name_in_exclude_is_an_error_that_names_close_ones(make_model: Callable[..., Any]) -> None:
    with pytest.raises(errors.ConfigError, match=r"'encoder.layer.0.attention.self.qeury'.*self.query"):
        reasons(make_model("bert"), exclude=("encoder.layer.0.attention.self.qeury",))
    with pytest.raises(errors.ConfigError, match=r"'zzz\*'.*print\(model\)"):
        reasons(make_model("bert"), exclude=("zzz*",))


def test_tied_weights_stay_float(make_model: Callable[..., Any]) -> None:
    model = make_model("bert", "AutoModelForMaskedLM")
    found = reasons(model, include_head=True)
    assert found["cls.predictions.decoder"] == "its weight is shared with another module"
    assert found["cls.predictions.transform.dense"] is None


class Shared(nn.Module):
    """One linear registered in three places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(40, 40)
        self.again = self.first
        self.blocks = nn.ModuleList([nn.Sequential(self.first, nn.ReLU())])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.blocks[0](self.first(x)))


def test_a_layer_used_in_several_places_is_one_layer_and_not_fused() -> None:
    model = Shared()
    (plan,) = plan_layers(model, ff.Int8Config())
    assert [site.name for site in plan.sites] == ["first", "again", "blocks.0.0"]
    assert plan.reason is plan.activation is None
    assert reasons(model, exclude=("blocks",)) == {"first": "excluded"}


def test_a_block_used_in_several_places_is_excluded_by_any_of_its_names() -> None:
    block = nn.Sequential(nn.Linear(40, 40))
    model = nn.ModuleList([block, block, nn.Sequential(nn.Linear(40, 40))])
    for pattern in ("0", "1", "1.0", "1.*"):
        assert reasons(model, exclude=(pattern,)) == {"0.0": "excluded", "2.0": None}


class Wrapper(nn.Module):
    """Passes attributes on to the model inside, as adapters' and torch.compile's wrappers do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


def test_the_encoder_of_a_wrapped_model_is_no_head(make_model: Callable[..., Any]) -> None:
    plain = make_model("bert", "AutoModelForSequenceClassification")
    wrapped = {name.removeprefix("inner."): why for name, why in reasons(Wrapper(plain)).items()}
    assert wrapped == reasons(plain)
    assert None in wrapped.values()


class ReadsWeight(nn.Module):
    """Named and built like the feed-forward block of T5."""

    def __init__(self) -> None:
        super().__init__()
        self.wi, self.wo = nn.Linear(40, 40), nn.Linear(40, 40)


class T5DenseActDense(ReadsWeight):
    """As above."""


def test_layers_that_their_parent_reads_or_that_are_special_stay_float() -> None:
    attention = nn.MultiheadAttention(48, 4)
    assert reasons(nn.Sequential(attention)) == {
        "0.out_proj": "its weight is read directly by MultiheadAttention"
    }
    assert reasons(nn.Sequential(T5DenseActDense())) == {
        "0.wi": None,
        "0.wo": "its weight is read directly by T5DenseActDense",
    }
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(40, 40)))
    assert reasons(normed) == {"0": "ParametrizedLinear is not a plain nn.Linear"}
    hooked = nn.Sequential(nn.Linear(40, 40))
    hooked[0].register_forward_hook(lambda *_: None)
    assert reasons(hooked) == {"0": "it has forward hooks, which a swap would lose"}
    patched = nn.Sequential(nn.Linear(40, 40))
    original = patched[0].forward
    patched[0].forward = lambda x: original(x) + 1  # type: ignore[method-assign] # as adapters do
    assert reasons(patched) == {"0": "it has a forward of its own, which a swap would lose"}
    patched[0].forward = original  # type: ignore[method-assign] # as what undoes it does
    assert reasons(patched) == {"0": None}
    assert reasons(nn.Sequential(nn.Linear(31, 33))) == {"0": "too small (1023 weights)"}


def test_packed_layers_are_listed_as_they_are(plain: nn.Sequential) -> None:
    plain[2] = PackedLinear.from_linear(plain[2])
    assert reasons(plain) == {"0": None, "2": "already INT8", "4": None}


def test_a_model_without_linears_or_that_is_one_is_refused() -> None:
    with pytest.raises(errors.UnsupportedModelError, match=r"holds no nn[.]Linear"):
        reasons(nn.Sequential(nn.LayerNorm(4)))
    for layer in (nn.Linear(40, 40), PackedLinear(40, 40)):
        with pytest.raises(errors.UnsupportedModelError, match="from_linear"):
            reasons(layer)
