# SPDX-License-Identifier: MIT
"""Fills heads and feed-forward widths up with zeros, to the multiples of 8 that a GPU's matrix units take in half.

A pruned layer of 900 neurons, or a head of 26 channels, runs on slow paths: rows do not begin at multiples of 16 bytes,
and fused attention refuses the head size. More channels that are zero change no answer: zero queries meet zero keys,
zero values stay zero, and what the new neurons put out meets zero weights. Queries are scaled, so that the scale of
attention, which transformers takes from the size of a head, remains that of the head as it was.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastformers.modules.encoder_names import EncoderParts, parts_of
from fastformers.modules.layer_shapes import (
    LayerShape,
    resize_,
    set_shared_table_,
    shapes_in,
    shared_table,
)

__all__ = ["MULTIPLE", "align_", "aligned"]

#: Halves in 16 bytes.
MULTIPLE = 8


def aligned(size: int) -> int:
    """The next multiple of 8.

    Example:
        >>> aligned(26), aligned(32)
        (32, 32)
    """
    return -(-size // MULTIPLE) * MULTIPLE


def align_(model: nn.Module) -> None:
    """Fills up what is no multiple of 8.

    Families that rotate heads or have gated feed-forward networks (ModernBERT) are left as they are: their channels
    are paired by place.

    Args:
        model: of a family known, with float layers.
    """
    parts = parts_of(model)
    before = shapes_in(parts)
    after = tuple(
        LayerShape(each.heads, aligned(each.head_size), aligned(each.intermediate)) for each in before
    )
    if parts.names.gated or after == before:
        return
    kept = [_values(parts, layer) for layer in parts.layers]
    table: Any = shared_table(parts).weight if parts.names.shared_heads else None
    resize_(model, after)
    if table is not None:
        set_shared_table_(parts, table)
    for layer, values, old, new in zip(parts.layers, kept, before, after, strict=True):
        _fill(parts, layer, values, old, new)


def _values(parts: EncoderParts, layer: nn.Module) -> dict[str, Tensor]:
    """Weights and biases of a layer's linears, by path."""
    block = parts.names.block
    found: dict[str, Tensor] = {}
    for path in (*block.qkv, block.output, block.up, block.down):
        linear: Any = layer.get_submodule(path)
        found |= {f"{path}.{name}": value.detach() for name, value in linear.named_parameters()}
    return found


def _fill(
    parts: EncoderParts, layer: nn.Module, values: dict[str, Tensor], old: LayerShape, new: LayerShape
) -> None:
    """Writes the values of a layer and zeros into linears that have the new shape."""
    block = parts.names.block
    scale = (new.head_size / old.head_size) ** 0.5
    filled = dict(values)
    for path in block.qkv:
        factor = scale if path == block.qkv[0] else 1.0
        for name in ("weight", "bias"):
            if f"{path}.{name}" in values:
                filled[f"{path}.{name}"] = factor * _wider_heads(values[f"{path}.{name}"], 0, old, new)
    filled[f"{block.output}.weight"] = _wider_heads(values[f"{block.output}.weight"], 1, old, new)
    neurons = new.intermediate - old.intermediate
    for name in ("weight", "bias"):
        if f"{block.up}.{name}" in values:
            filled[f"{block.up}.{name}"] = _with_zeros(values[f"{block.up}.{name}"], 0, neurons)
    filled[f"{block.down}.weight"] = _with_zeros(values[f"{block.down}.weight"], 1, neurons)
    for path, value in filled.items():
        parameter: Any = layer.get_parameter(path)
        parameter.data = value


def _wider_heads(values: Tensor, axis: int, old: LayerShape, new: LayerShape) -> Tensor:
    """Adds zeros at the end of each head, along the axis on which the heads lie."""
    by_head = values.unflatten(axis, (old.heads, old.head_size))
    return _with_zeros(by_head, axis + 1, new.head_size - old.head_size).flatten(axis, axis + 1)


def _with_zeros(values: Tensor, axis: int, count: int) -> Tensor:
    behind = [0, 0] * (values.dim() - 1 - axis)
    return nn.functional.pad(values, [*behind, 0, count])
