# SPDX-License-Identifier: MIT
"""Recognises activations, modules and functions alike, by the one name that plans and kernels know them by.

Nothing here imports transformers: its classes are recognised by their qualified name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from fastformers.encoder_plan import Activation
from fastformers.modules.added_calls import added_call

__all__ = ["activation_name"]

_MODULES: dict[str, Activation] = {
    "transformers.activations.GELUActivation": "gelu",
    "transformers.activations.GELUTanh": "gelu_tanh",
    "transformers.activations.NewGELUActivation": "gelu_tanh",
    "transformers.activations.FastGELUActivation": "gelu_tanh",
    "transformers.activations.AccurateGELUActivation": "gelu_tanh",
    "transformers.activations.SiLUActivation": "silu",
    "transformers.activations.LinearActivation": "none",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "none",
}
_FUNCTIONS: tuple[tuple[object, Activation], ...] = (
    (F.relu, "relu"),
    (torch.relu, "relu"),
    (F.gelu, "gelu"),
    (F.silu, "silu"),
    (torch.tanh, "tanh"),
)


def activation_name(value: object) -> Activation | None:
    """Names a module or function; None for one that is not known or does more (hooks, a replaced forward).

    Args:
        value: whatever a model applies to a linear layer's output.
    """
    if isinstance(value, nn.Module) and added_call(value) is not None:
        return None
    if type(value) is nn.GELU:
        return "gelu" if value.approximate == "none" else "gelu_tanh"
    if isinstance(value, nn.Module):
        return _MODULES.get(f"{type(value).__module__}.{type(value).__qualname__}")
    return next((name for function, name in _FUNCTIONS if value is function), None)
