# SPDX-License-Identifier: MIT
"""A packed layer's entries in a ``state_dict``: canonical tensors, never packed bytes.

Keys below the layer's prefix: ``weight`` int8 [N, K], ``weight_scale`` float32 [N], and where the layer has them
``bias`` float32 [N] and ``input_factors`` float32 [K].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fastformers.modules.canonical import Canonical

__all__ = ["read_entries", "write_entries"]

_REQUIRED = ("weight", "weight_scale")


def write_entries(canonical: Canonical, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Adds a layer's canonical tensors to a state dict."""
    destination[prefix + "weight"] = canonical.weight
    destination[prefix + "weight_scale"] = canonical.weight_scale
    for key, vector in (("bias", canonical.bias), ("input_factors", canonical.factors)):
        if vector is not None:
            destination[prefix + key] = vector if keep_vars else vector.detach()


def read_entries(
    shape: tuple[int, int],
    vectors: Sequence[str],
    state: Mapping[str, Any],
    prefix: str,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> Canonical | None:
    """Takes a layer's canonical tensors from a state dict, in ``load_state_dict``'s way of reporting.

    Args:
        shape: the layer's (N, K).
        vectors: which of ``"bias"`` and ``"input_factors"`` the layer has.
        state: the state dict.
        prefix: the layer's name followed by a dot, or empty.
        missing: gets the names of absent keys.
        unexpected: gets the names of keys that the layer has no place for.
        errors: gets one sentence for a weight of another shape.

    Returns:
        The values, not looked into yet, or None when one is missing or the weight has another shape.
    """
    wanted = [*_REQUIRED, *vectors]
    absent = [prefix + key for key in wanted if prefix + key not in state]
    missing.extend(absent)
    own = {key for key in state if key.startswith(prefix) and "." not in key[len(prefix) :]}
    unexpected.extend(sorted(own - {prefix + key for key in wanted}))
    if absent:
        return None
    entries: dict[str, Tensor] = {key: state[prefix + key] for key in wanted}
    weight = entries["weight"]
    if tuple(weight.shape) != shape:
        errors.append(f"{prefix}weight has shape {list(weight.shape)}, the layer holds {list(shape)}")
        return None
    return Canonical(weight, entries["weight_scale"], entries.get("bias"), entries.get("input_factors"))
