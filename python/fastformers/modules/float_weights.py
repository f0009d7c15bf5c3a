# SPDX-License-Identifier: MIT
"""Weights in half as float32: what checkpoints hold is not always what can be computed with.

transformers 5 loads a checkpoint in the precision it was saved in; layers here are quantized, trained and exported from
float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["with_float32_weights"]


def with_float32_weights(model: nn.Module) -> nn.Module:
    """Makes weights in half float32, in place; no value changes.

    Args:
        model: of transformers, just loaded; its configuration names the new precision, where it names one.

    Returns:
        The model.
    """
    config: Any = getattr(model, "config", None)
    if getattr(config, "dtype", None) is not None:
        config.dtype = torch.float32
    return model.float()
