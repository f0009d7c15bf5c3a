# SPDX-License-Identifier: MIT
"""Runs a model only as far as some of its layers: what comes after them is not needed to observe their inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

__all__ = ["PartialPass"]


class _ReachedAll(Exception):
    """Ends a pass; not an error."""


class PartialPass:
    """Calls a model, and leaves it when the last of some layers is about to run.

    Halves the work of observing a model's layers group by group. The call returns None.

    Args:
        model: what to call.
        layers: the layers that must be reached.
        calls: how often they are called in one pass, together.
    """

    def __init__(self, model: nn.Module, layers: Iterable[nn.Module], calls: int) -> None:
        self._model = model
        self._layers = tuple(layers)
        self._calls = calls

    def __call__(self, **inputs: Tensor) -> None:
        """Runs one pass as far as needed."""
        left = self._calls

        def count(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _ReachedAll

        # Registered last, so that hooks that observe the inputs have run before.
        hooks = [layer.register_forward_pre_hook(count) for layer in self._layers]
        try:
            self._model(**inputs)
        except _ReachedAll:
            pass
        finally:
            for hook in hooks:
                hook.remove()
