# SPDX-License-Identifier: MIT
"""What model families call the same thing in transformers' configs, and how it is set whatever its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastformers._optional import require
from fastformers.errors import ConfigError

__all__ = ["HEADS", "HIDDEN", "INTERMEDIATE", "LAYERS", "check_activation", "set_activation_", "set_known_"]

LAYERS = ("num_hidden_layers", "n_layers")
HEADS = ("num_attention_heads", "n_heads")
HIDDEN = ("hidden_size", "dim")
INTERMEDIATE = ("intermediate_size", "hidden_dim")
_ACTIVATION = ("hidden_act", "activation", "hidden_activation")


def set_activation_(config: Any, activation: str) -> None:
    """Names another activation of the feed-forward layers in a config.

    Args:
        config: of transformers; changed.
        activation: as transformers calls it, e.g. ``"relu"``.

    Raises:
        ConfigError: transformers does not know it, or the config has no field for one.
    """
    check_activation(activation)
    set_known_(config, _ACTIVATION, activation)


def check_activation(activation: str, place: str = "") -> None:
    """Checks that there is such an activation.

    Args:
        activation: as transformers calls it.
        place: what an error's text begins with.

    Raises:
        ConfigError: transformers does not know it.
    """
    if activation not in require("transformers.activations", "torch", "another activation").ACT2FN:
        raise ConfigError(
            f"{place}activation is {activation!r}, which transformers does not know; e.g. 'relu', 'gelu'"
        )


def set_known_(config: Any, names: Sequence[str], value: object) -> None:
    """Sets those of some fields that a config has.

    Raises:
        ConfigError: it has none of them.
    """
    known = [name for name in names if hasattr(config, name)]
    if not known:
        raise ConfigError(
            f"a {config.model_type} config has none of {', '.join(names)}: cannot set {value!r}"
        )
    for name in known:
        setattr(config, name, value)
