# SPDX-License-Identifier: MIT
"""Everything about a model that could make a conversion fail, checked before the first layer is touched."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from fastformers.errors import DeviceError, DtypeError, NonFiniteError, ShapeError, UnsupportedModelError
from fastformers.kernels import MAX_DEPTH
from fastformers.quantization.plan import LayerPlan

__all__ = ["check_layers", "check_model"]

_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def check_model(model: nn.Module) -> None:
    """Checks that a model can be run on the CPU and answers the same twice.

    Raises:
        UnsupportedModelError: it, or a dropout inside it, is in training mode.
        DeviceError: a parameter or buffer is elsewhere.
    """
    if model.training:
        raise UnsupportedModelError(
            "the model is in training mode, where dropout makes every answer random: call model.eval() first"
        )
    for name, module in model.named_modules():
        if module.training and isinstance(module, _RANDOM) and module.p:
            raise UnsupportedModelError(
                f"{name} is in training mode, where it makes every answer random: call model.eval() first"
            )
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            if tensor.device.type != "cpu":
                raise DeviceError(
                    f"{kind} {name} is on {tensor.device}; INT8 runs on the CPU: call model.cpu() first"
                )


def check_layers(plans: Iterable[LayerPlan]) -> None:
    """Checks every layer that is to be swapped, so that none fails half-way.

    Raises:
        DtypeError, DeviceError, ShapeError, NonFiniteError: names the layer, the value and the remedy.
    """
    for plan in plans:
        if plan.linear is not None and plan.reason is None:
            _check_layer(plan.name, plan.linear)


def _check_layer(name: str, linear: nn.Linear) -> None:
    remedy = f"or leave it float with exclude=({name!r},)"
    for kind, tensor in (("weight", linear.weight), ("bias", linear.bias)):
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            raise DeviceError(f"{name}.{kind} is on {tensor.device}: call model.cpu() first, {remedy}")
        if tensor.dtype != torch.float32:
            raise DtypeError(
                f"{name}.{kind} is {tensor.dtype}, must be float32: call model.float() first, {remedy}"
            )
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            place = torch.nonzero(~finite)[0].tolist()
            value = float(tensor.detach()[tuple(place)])
            raise NonFiniteError(f"{name}.{kind}{place} is {value}: repair the checkpoint, {remedy}")
    if linear.in_features > MAX_DEPTH:
        raise ShapeError(
            f"{name} has in_features {linear.in_features}; INT8 sums stay exact only up to {MAX_DEPTH}: leave it "
            f"float with exclude=({name!r},)"
        )
