# SPDX-License-Identifier: MIT
"""Drop-in replacements for calls that other libraries deprecated."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from fastformers._optional import require

require("torch", "torch", "fastformers.compat")

import torch  # noqa: E402 - after the check that torch is there
from torch import nn  # noqa: E402

from fastformers.config import Int8Config  # noqa: E402
from fastformers.errors import ConfigError, UnsupportedModelError  # noqa: E402
from fastformers.modules import PackedLinear  # noqa: E402
from fastformers.quantization.checks import check_layers  # noqa: E402
from fastformers.quantization.plan import LayerPlan, plan_layers  # noqa: E402
from fastformers.quantization.swap import Swap  # noqa: E402

__all__ = ["quantize_dynamic"]


def quantize_dynamic(
    model: nn.Module,
    qconfig_spec: Iterable[type | str] | Mapping[type | str, Any] | None = None,
    dtype: torch.dtype = torch.qint8,
    mapping: None = None,
    inplace: bool = False,
) -> nn.Module:
    """Replaces ``nn.Linear`` layers by INT8 ones, as ``torch.ao.quantization.quantize_dynamic`` did.

    No calibration and no timing takes place: every plain linear named is swapped, the head included; what
    :func:`fastformers.quantize_` never swaps stays float (fewer than 1,024 weights, shared weights, hooks).
    :func:`fastformers.quantize_` gives more faithful results from a few texts.

    Args:
        model: float32 model on the CPU.
        qconfig_spec: ``{nn.Linear}``, names of modules to convert (with all linears in them), or both; as the
            keys of a dict, whose values other than None are not looked at (None: leave these float).
        dtype: ``torch.qint8``.
        mapping: None.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The converted model.

    Raises:
        ConfigError: another dtype, a mapping, or a name that matches nothing.
        UnsupportedModelError: other module types than ``nn.Linear``, or a model without any.
        DtypeError, DeviceError, ShapeError, NonFiniteError: a layer that cannot be converted, with its name.

    Example:
        >>> quantized = ff.compat.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    """
    if dtype is not torch.qint8:
        raise ConfigError(f"dtype is {dtype}; allowed: torch.qint8")
    if mapping is not None:
        raise ConfigError("mapping is not supported: only nn.Linear is converted, to PackedLinear")
    spec = _as_mapping(qconfig_spec)
    names = [key for key in spec if isinstance(key, str)]
    everywhere = spec.get(nn.Linear) is not None
    config = Int8Config(
        equalize=False,
        include_head=True,
        never_slower=False,
        exclude=tuple(key for key in names if spec[key] is None),
    )
    _check_names(model, names)
    model = model if inplace else copy.deepcopy(model)
    plans = [plan for plan in plan_layers(model, config) if plan.reason is None]
    inside = _modules_in(model, [key for key in names if spec[key] is not None])
    wanted = [plan for plan in plans if everywhere or id(plan.linear) in inside]
    check_layers(wanted)
    _swap(model, wanted)
    return model


def _as_mapping(spec: Iterable[type | str] | Mapping[type | str, Any] | None) -> dict[type | str, Any]:
    if spec is None:
        return {nn.Linear: True}
    found = dict(spec) if isinstance(spec, Mapping) else dict.fromkeys(spec, True)
    for key in found:
        if not isinstance(key, str) and key is not nn.Linear:
            name = getattr(key, "__name__", repr(key))
            raise UnsupportedModelError(f"qconfig_spec names {name}; only nn.Linear is converted")
    return found


def _check_names(model: nn.Module, names: Iterable[str]) -> None:
    known = dict(model.named_modules(remove_duplicate=False))
    for name in names:
        if name not in known:
            raise ConfigError(
                f"qconfig_spec names {name!r}, which is no module of the model; print(model) lists them"
            )


def _modules_in(model: nn.Module, names: Iterable[str]) -> frozenset[int]:
    """Modules by id, with all inside them: one that is used in several places has a name in each."""
    return frozenset(id(inner) for name in names for inner in model.get_submodule(name).modules())


def _swap(model: nn.Module, plans: list[LayerPlan]) -> None:
    with Swap(keep=True) as swap:
        swap.leave_fast_paths(model, plans)
        for plan in plans:
            assert plan.linear is not None
            swap.replace_layer(plan, PackedLinear.from_linear(plan.linear, plan.activation))
        swap.commit()
