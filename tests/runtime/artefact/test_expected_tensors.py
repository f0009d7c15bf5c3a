# SPDX-License-Identifier: MIT
"""The rules of a plan's tensors are what the executor takes, and tell an artefact's size before it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastformers.encoder_plan import EncoderPlan, HeadStep, LayerPlan, OutputPlan
from fastformers.errors import ConfigError, DtypeError, FastformersError, NonFiniteError, ShapeError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.expected_tensors import TensorRule, check_layout, check_values, expected_tensors

Arrays = dict[str, np.ndarray[Any, Any]]
MakePlan = Callable[..., EncoderPlan]
MakeTensors = Callable[..., Arrays]

#: Plans that differ in what they need; changes of the classifier's plan.
VARIANTS: dict[str, dict[str, Any]] = {
    "classifier": {},
    "small embedding": {"embedding": 16},
    "no types or positions": {"types": 0, "positions": 0},
    "pre-norm, gated, rotary": {
        "pre_norm": True,
        "gated": True,
        "positions": 0,
        "layers": (LayerPlan(heads=2, head_size=12, intermediate=20, window=4, rope_base=10_000.0),),
    },
    "no heads": {"layers": (LayerPlan(heads=0, head_size=12, intermediate=8),)},
    "no ffn": {"layers": (LayerPlan(heads=1, head_size=5, intermediate=0),)},
    "no layers": {"layers": ()},
    "norm in the head": {
        "outputs": (
            OutputPlan(
                name="x",
                rows="mean",
                normalize=True,
                steps=(HeadStep(linear=False, activation="gelu", norm=True, features=24),),
            ),
        )
    },
}


def layout_of(tensors: Arrays) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (array.dtype.name, array.shape) for name, array in tensors.items()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("int8", [True, False])
def test_the_executor_takes_what_the_rules_allow(
    make_plan: MakePlan, make_tensors: MakeTensors, variant: str, int8: bool
) -> None:
    plan = make_plan(**VARIANTS[variant])
    tensors = make_tensors(plan, int8=int8)
    check_layout(expected_tensors(plan), layout_of(tensors))
    NativeEncoder(plan.to_dict(), tensors)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("int8", [True, False])
def test_the_executor_needs_exactly_what_the_rules_require(
    make_plan: MakePlan, make_tensors: MakeTensors, variant: str, int8: bool
) -> None:
    plan = make_plan(**VARIANTS[variant])
    tensors = make_tensors(plan, int8=int8)
    rules = expected_tensors(plan)
    for name in tensors:
        rest = {other: array for other, array in tensors.items() if other != name}
        orphans = [other for other in rest if rules[other].beside == name]
        rest = {other: array for other, array in rest.items() if other not in orphans}
        if rules[name].optional:
            check_layout(rules, layout_of(rest))
            NativeEncoder(plan.to_dict(), rest)
            continue
        with pytest.raises(ConfigError, match="missing"):
            check_layout(rules, layout_of(rest))
        with pytest.raises(FastformersError):
            NativeEncoder(plan.to_dict(), rest)


def test_scales_and_factors_come_with_int8_only(plan: EncoderPlan, make_tensors: MakeTensors) -> None:
    rules = expected_tensors(plan)
    layout = layout_of(make_tensors(plan, int8=False))
    for name in ("layers.0.up.scale", "layers.0.up.factors", "embeddings.word.scale"):
        with pytest.raises(ConfigError, match=f"{name} is there without the int8 tensor"):
            check_layout(rules, {**layout, name: ("float32", rules[name].shape)})


def test_a_bias_comes_with_its_weight_only(make_plan: MakePlan, make_tensors: MakeTensors) -> None:
    plan = make_plan(pre_norm=True)
    layout = layout_of(make_tensors(plan))
    layout.pop("final_norm.weight")
    with pytest.raises(ConfigError, match=r"final_norm.bias is there without the tensor final_norm.weight"):
        check_layout(expected_tensors(plan), layout)


def test_wrong_dtype_and_shape_are_said(plan: EncoderPlan, make_tensors: MakeTensors) -> None:
    rules, layout = expected_tensors(plan), layout_of(make_tensors(plan))
    with pytest.raises(DtypeError, match=r"layers.0.up.bias is int8, must be float32"):
        check_layout(rules, {**layout, "layers.0.up.bias": ("int8", (40,))})
    with pytest.raises(ShapeError, match=r"layers.0.up.bias has shape \[41\], the plan needs \[40\]"):
        check_layout(rules, {**layout, "layers.0.up.bias": ("float32", (41,))})


def test_steps_that_do_not_fit_together_are_refused(make_plan: MakePlan) -> None:
    step = HeadStep(linear=False, activation="tanh", norm=False, features=25)
    plan = make_plan(outputs=(OutputPlan(name="x", rows="all", steps=(step,)),))
    with pytest.raises(ConfigError, match="25 features and no linear layer, but gets 24"):
        expected_tensors(plan)


@pytest.mark.parametrize(
    ("rule", "values", "kind"),
    [
        (TensorRule(shape=(2,)), np.float32([1, np.nan]), NonFiniteError),
        (TensorRule(shape=(2,)), np.float32([1, -np.inf]), NonFiniteError),
        (TensorRule(shape=(2,), values="scale"), np.float32([1, -1e-30]), ShapeError),
        (TensorRule(shape=(2,), values="factor"), np.float32([1, 0]), ShapeError),
        (TensorRule(shape=(2,), dtypes=("int8",)), np.int8([-128, 0]), ShapeError),
    ],
)
def test_wrong_values_are_refused(rule: TensorRule, values: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="tensor x holds"):
        check_values("x", rule, values)


def test_right_values_are_accepted() -> None:
    check_values("x", TensorRule(shape=(2,), values="scale"), np.float32([0, 3e38]))
    check_values("x", TensorRule(shape=(2,), values="factor"), np.float32([1e-44, 3e38]))
    check_values("x", TensorRule(shape=(2,), dtypes=("int8",)), np.int8([-127, 127]))


def bert_base() -> EncoderPlan:
    pooler = HeadStep(linear=True, activation="tanh", norm=False, features=768)
    logits = HeadStep(linear=True, activation="none", norm=False, features=2)
    return EncoderPlan(
        hidden=768,
        embedding=768,
        vocab=30_522,
        types=2,
        positions=512,
        position_offset=0,
        max_tokens=512,
        pre_norm=False,
        norm_epsilon=1e-12,
        activation="gelu",
        gated=False,
        layers=(LayerPlan(heads=12, head_size=64, intermediate=3_072),) * 12,
        outputs=(OutputPlan(name="logits", rows="first", steps=(pooler, logits)),),
    )


@pytest.mark.parametrize(("int8_embeddings", "most"), [(False, 0.45), (True, 0.30)])
def test_size_of_a_bert_base_artefact(int8_embeddings: bool, most: float) -> None:
    """Encoder layers int8 with scales, factors and biases; pooler and head float32, as conversion leaves them."""
    rules = expected_tensors(bert_base())
    parameters = [rule for name, rule in rules.items() if not rule.beside_int8 and not _is_absent(name)]
    float_bytes = sum(rule.nbytes() for rule in parameters)
    assert 4 * 109_400_000 < float_bytes < 4 * 109_600_000  # as transformers counts them: 109.5 million
    stored = 0
    for name, rule in rules.items():
        weight = name if rule.beside is None or not rule.beside_int8 else rule.beside
        becomes_int8 = weight.startswith("layers.") or (int8_embeddings and weight == "embeddings.word")
        if _is_absent(name) or (rule.beside_int8 and not becomes_int8):
            continue
        stored += rule.nbytes("int8" if "int8" in rule.dtypes and becomes_int8 else None)
    tokenizer_and_golden = 2 << 20
    assert stored + tokenizer_and_golden <= most * float_bytes


def _is_absent(name: str) -> bool:
    return name.startswith("final_norm") or name.endswith("relative_bias")
