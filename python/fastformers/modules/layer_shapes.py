# SPDX-License-Identifier: MIT
"""How large the layers of an encoder are: read off the modules, and given to a stock model that is about to be filled.

Pruned layers differ from what transformers' config says, and from each other. The config keeps the sizes that the
model was made with, so that the head size, which is the hidden size divided by the heads there, stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fastformers.errors import ShapeError, UnsupportedModelError
from fastformers.modules.config_names import HEADS
from fastformers.modules.encoder_names import EncoderNames, EncoderParts, parts_of

__all__ = [
    "LayerShape",
    "layer_shape",
    "note_heads_",
    "resize_",
    "set_shared_table_",
    "shapes_in",
    "shapes_of",
    "shared_table",
]

#: Where MPNet's relative position biases are, below the encoder: [buckets, heads], the same for every layer.
_SHARED_TABLE = "encoder.relative_attention_bias"
#: What attention modules call their number of heads, and the channels of them all.
_CHANNELS = ("all_head_size", "dim")


@dataclass(frozen=True)
class LayerShape:
    """Sizes of one layer.

    Attributes:
        heads: attention heads.
        head_size: channels of a head.
        intermediate: width of the feed-forward network.
    """

    heads: int
    head_size: int
    intermediate: int

    def linear_macs(self, hidden: int, gated: bool) -> int:
        """Multiplications of the layer's linears for one token."""
        return hidden * (4 * self.heads * self.head_size + (3 if gated else 2) * self.intermediate)


def layer_shape(names: EncoderNames, layer: nn.Module) -> LayerShape:
    """Reads the sizes of one layer, float or INT8, off its modules."""
    block = names.block
    head_size = int(getattr(layer.get_submodule(block.attention), block.head_size))
    output: Any = layer.get_submodule(block.output)
    down: Any = layer.get_submodule(block.down)
    return LayerShape(int(output.in_features) // head_size, head_size, int(down.in_features))


def shapes_of(model: nn.Module) -> tuple[LayerShape, ...]:
    """Reads the sizes of all layers.

    Args:
        model: of transformers, or a span classifier; it is only read.

    Raises:
        UnsupportedModelError: it is of no family known.

    Example:
        >>> shapes_of(BertModel(BertConfig()))[0]
        LayerShape(heads=12, head_size=64, intermediate=3072)
    """
    return shapes_in(parts_of(model))


def shapes_in(parts: EncoderParts) -> tuple[LayerShape, ...]:
    """Reads the sizes of an encoder's layers."""
    return tuple(layer_shape(parts.names, layer) for layer in parts.layers)


def shared_table(parts: EncoderParts) -> nn.Embedding:
    """The table with one column for each head that all layers share, of families with ``shared_heads``."""
    table = parts.encoder.get_submodule(_SHARED_TABLE)
    if not isinstance(table, nn.Embedding):
        raise UnsupportedModelError(f"{_SHARED_TABLE} is {type(table).__name__}, expected nn.Embedding")
    return table


def set_shared_table_(parts: EncoderParts, weight: nn.Parameter) -> None:
    """Gives that table other weights, of shape [buckets, heads], and notes the heads where it is read."""
    table = shared_table(parts)
    table.weight, table.embedding_dim = weight, weight.shape[1]
    holder: Any = parts.encoder.get_submodule(_SHARED_TABLE.rpartition(".")[0])
    holder.n_heads = weight.shape[1]


def note_heads_(attention: nn.Module, shape: LayerShape) -> None:
    """Sets the attributes by which an attention module knows how many heads it has."""
    for names, value in ((HEADS, shape.heads), (_CHANNELS, shape.heads * shape.head_size)):
        for name in names:
            if isinstance(getattr(attention, name, None), int):
                setattr(attention, name, value)


def resize_(model: nn.Module, shapes: Sequence[LayerShape]) -> None:
    """Gives the linears of a model other sizes; their values are lost, so it is for models about to be filled.

    Args:
        model: of a family known, with float layers.
        shapes: one for each layer.

    Raises:
        UnsupportedModelError: it is of no family known, or a head size is one that it cannot take.
        ShapeError: there are more or fewer shapes than layers, or heads differ that share something.

    Example:
        >>> resize_(model, [LayerShape(heads=9, head_size=64, intermediate=900)] * 4)  # doctest: +SKIP
    """
    parts = parts_of(model)
    if len(shapes) != len(parts.layers):
        raise ShapeError(f"there are {len(shapes)} shapes for {len(parts.layers)} layers")
    if parts.names.shared_heads:
        table = shared_table(parts)
        set_shared_table_(parts, _empty(table.weight, table.num_embeddings, _only_heads(parts, shapes)))
    for layer, shape in zip(parts.layers, shapes, strict=True):
        _resize_layer(parts, layer, shape)


def _only_heads(parts: EncoderParts, shapes: Sequence[LayerShape]) -> int:
    heads = sorted({shape.heads for shape in shapes})
    if len(heads) != 1:
        raise ShapeError(f"the layers of {parts.names.name} must have equally many heads, these have {heads}")
    return heads[0]


def _resize_layer(parts: EncoderParts, layer: nn.Module, shape: LayerShape) -> None:
    names, block = parts.names, parts.names.block
    attention: Any = layer.get_submodule(block.attention)
    _set_head_size(parts, attention, shape.head_size)
    note_heads_(attention, shape)
    channels = shape.heads * shape.head_size
    for path in block.qkv:
        _resize_linear(layer.get_submodule(path), rows=channels * (3 if len(block.qkv) == 1 else 1))
    _resize_linear(layer.get_submodule(block.output), depth=channels)
    _resize_linear(layer.get_submodule(block.up), rows=shape.intermediate * (2 if names.gated else 1))
    _resize_linear(layer.get_submodule(block.down), depth=shape.intermediate)


def _set_head_size(parts: EncoderParts, attention: Any, head_size: int) -> None:
    name = parts.names.block.head_size
    before = getattr(attention, name)
    if head_size == before:
        return
    if hasattr(parts.encoder, "rotary_emb"):
        raise UnsupportedModelError(
            f"{parts.names.name} rotates heads of {before} channels by its config: {head_size} are not covered"
        )
    setattr(attention, name, head_size)
    if hasattr(attention, "scaling"):
        attention.scaling = head_size**-0.5


def _resize_linear(linear: Any, rows: int | None = None, depth: int | None = None) -> None:
    linear.out_features = linear.out_features if rows is None else rows
    linear.in_features = linear.in_features if depth is None else depth
    linear.weight = _empty(linear.weight, linear.out_features, linear.in_features)
    if linear.bias is not None:
        linear.bias = _empty(linear.bias, linear.out_features)


def _empty(parameter: Tensor, *shape: int) -> nn.Parameter:
    return nn.Parameter(parameter.detach().new_empty(shape), requires_grad=parameter.requires_grad)
