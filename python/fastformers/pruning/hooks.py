# SPDX-License-Identifier: MIT
"""Hooks on a stock model that put a mask on every unit, or watch what each puts out; removed whatever happens.

A head's mask multiplies its slice of the input of the linear after attention, which is the same as multiplying its
attention probabilities. A neuron has two: one on what it receives, before the activation, one on what it puts out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.modules.encoder_names import EncoderNames, EncoderParts
from fastformers.modules.layer_shapes import LayerShape, layer_shape

__all__ = ["LayerMasks", "unchunked", "unit_masks", "watched_inputs"]


class LayerMasks:
    """The masks of one layer's units; each example of a batch has its own, so that gradients come per example.

    Attributes:
        heads: shape [examples, heads].
        received: of the neurons before the activation, shape [examples, intermediate].
        put_out: of the neurons after it, shape [examples, intermediate].
    """

    def __init__(self, names: EncoderNames, layer: nn.Module) -> None:
        self._gated = names.gated
        self._shape: LayerShape = layer_shape(names, layer)
        self.renew(0, torch.zeros(()))

    def renew(self, examples: int, like: Tensor) -> list[Tensor]:
        """Makes masks of ones for a batch, of the dtype and device of a tensor, and returns them."""

        def ones(units: int) -> Tensor:
            return torch.ones(examples, units, dtype=like.dtype, device=like.device, requires_grad=True)

        self.heads = ones(self._shape.heads)
        self.received, self.put_out = ones(self._shape.intermediate), ones(self._shape.intermediate)
        return [self.heads, self.received, self.put_out]

    def on_attention(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pre-hook of the linear after attention."""
        by_head = arguments[0].unflatten(-1, (self._shape.heads, self._shape.head_size))
        return ((by_head * self.heads[:, None, :, None]).flatten(-2), *arguments[1:])

    def on_up(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Hook of the first linear of the FFN; of a gated one the gates are left alone."""
        if not self._gated:
            return output * self.received[:, None]
        values, gates = output.chunk(2, dim=-1)
        return torch.cat([values * self.received[:, None], gates], dim=-1)

    def on_down(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pre-hook of the second linear of the FFN."""
        return (arguments[0] * self.put_out[:, None], *arguments[1:])


@contextmanager
def unit_masks(parts: EncoderParts) -> Iterator[list[LayerMasks]]:
    """Puts masks on all units of an encoder while the block runs.

    Yields:
        The masks of each layer; renew them for each batch.
    """
    block = parts.names.block
    masks = [LayerMasks(parts.names, layer) for layer in parts.layers]
    with _handles() as handles:
        for layer, mask in zip(parts.layers, masks, strict=True):
            output, up, down = (layer.get_submodule(path) for path in (block.output, block.up, block.down))
            handles.append(output.register_forward_pre_hook(mask.on_attention))
            handles.append(up.register_forward_hook(mask.on_up))
            handles.append(down.register_forward_pre_hook(mask.on_down))
        yield masks


@contextmanager
def unchunked(model: nn.Module) -> Iterator[None]:
    """Feeds whole texts through feed-forward networks while the block runs, where the config says to feed parts.

    Hooks would see the parts: their tokens cannot be told from padding.
    """
    name = "chunk_size_feed_forward"
    before = [(module, getattr(module, name)) for module in model.modules() if getattr(module, name, 0)]
    try:
        for module, _ in before:
            setattr(module, name, 0)
        yield
    finally:
        for module, size in before:
            setattr(module, name, size)


@contextmanager
def watched_inputs(modules: Sequence[nn.Module], watch: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Calls ``watch(place, input)`` whenever one of the modules is called, while the block runs."""
    with _handles() as handles:
        for place, module in enumerate(modules):

            def look(_: nn.Module, arguments: tuple[Tensor, ...], place: int = place) -> None:
                watch(place, arguments[0])

            handles.append(module.register_forward_pre_hook(look))
        yield


@contextmanager
def _handles() -> Iterator[list[Any]]:
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()
