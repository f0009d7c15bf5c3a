# SPDX-License-Identifier: MIT
"""``drop_layers_``: takes whole layers out of an encoder, in place."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from fastformers.modules.encoder_names import check_layers, keep_layers_, parts_of

__all__ = ["drop_layers_", "own_config"]


def drop_layers_(model: nn.Module, keep: Iterable[int]) -> None:
    """Removes all layers but some from a model, in place; its config counts those that are left.

    Answers change: train or distil afterwards.

    Args:
        model: a transformers encoder of a known family, bare or with a head, or a span classifier.
        keep: places of the layers that stay, from 0, ascending.

    Raises:
        ConfigError: a place is not there or occurs twice, they are not ascending, or there is none. The model is as
            before.
        UnsupportedModelError: the model is of no family known, or its first layer cannot be replaced by a later one.

    Example:
        >>> ff.drop_layers_(model, (0, 2, 4))  # doctest: +SKIP
    """
    parts = parts_of(model)
    kept = check_layers(parts, keep)
    own_config(model)
    keep_layers_(parts, kept)


def own_config(model: nn.Module) -> Any:
    """Gives a model a copy of its config, in all its modules, so that a change reaches no other model made of it."""
    before = parts_of(model).encoder.config
    after = copy.deepcopy(before)
    for module in model.modules():
        if module.__dict__.get("config") is before:
            module.__dict__["config"] = after
    return after
