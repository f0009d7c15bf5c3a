# SPDX-License-Identifier: MIT
"""What was hung onto one module object and would be lost with it, or not seen by who only reads its weights."""

from __future__ import annotations

from torch import nn

__all__ = ["added_call", "has_own_forward"]


def added_call(module: nn.Module) -> str | None:
    """Names what a module computes beside what its class says: hooks, or another ``forward``; None for nothing.

    Example:
        >>> added_call(nn.Linear(4, 4)) is None
        True
    """
    if module._forward_hooks or module._forward_pre_hooks:
        return "forward hooks"
    return "a forward of its own" if has_own_forward(module) else None


def has_own_forward(module: nn.Module) -> bool:
    """Whether ``forward`` was replaced on the object itself, as adapters (LoRA) and offloading tools do.

    Tools that undo it leave the class's own method there, which counts as not replaced.
    """
    own = vars(module).get("forward")
    if own is None:
        return False
    is_stock = getattr(own, "__func__", None) is type(module).forward
    return not (is_stock and getattr(own, "__self__", None) is module)
