# SPDX-License-Identifier: MIT
"""How many bytes a model holds."""

from __future__ import annotations

from torch import nn

__all__ = ["model_bytes"]


def model_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and buffers, each counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
