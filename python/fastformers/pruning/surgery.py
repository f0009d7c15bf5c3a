# SPDX-License-Identifier: MIT
"""Takes heads and neurons out of the modules of a stock model; what stays keeps its order and its numbers.

Linears stay the same objects with smaller weights, so hooks, names and classes are as before. Nothing of transformers
is patched: its attention modules shape their heads by the head size, which does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.errors import UnsupportedModelError
from fastformers.modules.encoder_names import EncoderParts
from fastformers.modules.layer_shapes import layer_shape, note_heads_, set_shared_table_, shared_table
from fastformers.pruning.selection import KeptUnits

__all__ = ["check_prunable", "keep_units_"]


def check_prunable(parts: EncoderParts) -> None:
    """Checks that all linears of the layers are plain ones, each in one place.

    Raises:
        UnsupportedModelError: one is not, or the encoder has no layers; names it and says what to do.
    """
    block = parts.names.block
    if not len(parts.layers):
        raise UnsupportedModelError("the encoder has no layers")
    seen: dict[int, int] = {}
    for number, layer in enumerate(parts.layers):
        for path in (*block.qkv, block.output, block.up, block.down):
            linear = layer.get_submodule(path)
            first, kind = seen.setdefault(id(linear), number), type(linear)
            if first != number:  # each would be cut to what stays of the other
                raise UnsupportedModelError(
                    f"layers {first} and {number} share {path}: give each a copy of its own (copy.deepcopy)"
                )
            if kind is not nn.Linear:
                raise UnsupportedModelError(
                    f"{path} of layer {number} is {kind.__name__}, not nn.Linear: prune the float model, before it is "
                    "quantized or given adapters"
                )


def keep_units_(parts: EncoderParts, kept: Sequence[KeptUnits]) -> None:
    """Removes all units but those kept.

    Args:
        parts: the encoder, checked by :func:`check_prunable`.
        kept: one entry for each layer; with ``names.shared_heads`` the same heads in each.
    """
    if parts.names.shared_heads:
        weight = shared_table(parts).weight
        set_shared_table_(parts, _taken(weight, 1, torch.tensor(kept[0].heads)))
    for layer, units in zip(parts.layers, kept, strict=True):
        _cut_heads(parts, layer, units.heads)
        _cut_neurons(parts, layer, units.ffn)


def _cut_heads(parts: EncoderParts, layer: nn.Module, heads: Sequence[int]) -> None:
    block, shape = parts.names.block, layer_shape(parts.names, layer)
    channels = _spread(heads, shape.head_size)
    rows = channels if len(block.qkv) > 1 else _repeated(channels, 3, shape.heads * shape.head_size)
    for path in block.qkv:
        _keep_rows(layer.get_submodule(path), rows)
    _keep_columns(layer.get_submodule(block.output), channels)
    note_heads_(layer.get_submodule(block.attention), replace(shape, heads=len(heads)))


def _cut_neurons(parts: EncoderParts, layer: nn.Module, neurons: Sequence[int]) -> None:
    block, shape = parts.names.block, layer_shape(parts.names, layer)
    places = torch.tensor(neurons)
    rows = _repeated(places, 2, shape.intermediate) if parts.names.gated else places
    _keep_rows(layer.get_submodule(block.up), rows)
    _keep_columns(layer.get_submodule(block.down), places)


def _spread(heads: Sequence[int], head_size: int) -> Tensor:
    """Channels of heads."""
    return (torch.tensor(heads)[:, None] * head_size + torch.arange(head_size)).flatten()


def _repeated(places: Tensor, times: int, apart: int) -> Tensor:
    """The same places in each of several blocks that lie one after the other."""
    return (torch.arange(times)[:, None] * apart + places).flatten()


def _keep_rows(linear: Any, rows: Tensor) -> None:
    linear.weight = _taken(linear.weight, 0, rows)
    if linear.bias is not None:
        linear.bias = _taken(linear.bias, 0, rows)
    linear.out_features = len(rows)


def _keep_columns(linear: Any, columns: Tensor) -> None:
    linear.weight = _taken(linear.weight, 1, columns)
    linear.in_features = len(columns)


def _taken(parameter: Any, dimension: int, places: Tensor) -> Any:
    """Parts of a parameter in memory of their own; the parameter itself where all of it stays."""
    if len(places) == parameter.shape[dimension]:
        return parameter
    taken = parameter.detach().index_select(dimension, places.to(parameter.device)).contiguous()
    return nn.Parameter(taken, requires_grad=parameter.requires_grad)
