# SPDX-License-Identifier: MIT
"""What a model computes on the way to its logits: hidden states, attention probabilities, queries, keys and values.

Hidden states and probabilities are transformers' own outputs. Queries, keys and values, which it does not put out, are
read by hooks on the linear layers; a hook lives as long as one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fastformers.errors import UnsupportedModelError
from fastformers.modules.encoder_names import EncoderParts, parts_of
from fastformers.tasks import accepted_inputs

__all__ = ["Inside", "Wanted", "head_count", "run"]


@dataclass(frozen=True)
class Wanted:
    """What to look at.

    Attributes:
        hidden_states: the embeddings' output and that of every layer.
        attentions: attention probabilities; they need the eager implementation, which is slower.
        vectors: layers whose queries, keys and values are wanted.
    """

    hidden_states: bool = False
    attentions: bool = False
    vectors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inside:
    """What one forward pass showed.

    Attributes:
        logits: shape [batch, outputs].
        hidden_states: the embeddings' output, then each layer's: shape [batch, tokens, hidden] each. As transformers
            gives them, the last one is after the encoder's final norm, where it has one (ModernBERT).
        attentions: each layer's probabilities: shape [batch, heads, tokens, tokens] each.
        vectors: layer -> queries, keys and values before any rotation, shape [batch, tokens, width] each.
    """

    logits: Tensor
    hidden_states: Sequence[Tensor] = ()
    attentions: Sequence[Tensor] = ()
    vectors: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)


def run(model: nn.Module, batch: Mapping[str, Tensor], wanted: Wanted) -> Inside:
    """Runs a model over a batch.

    Args:
        model: of a family of :mod:`fastformers.modules.encoder_names` where more than logits is wanted.
        batch: of the collator, int64, shape [batch, tokens]; what the model does not read is left out.
        wanted: what to look at.

    Raises:
        UnsupportedModelError: the family is unknown, or does not put out what is wanted.
    """
    inputs = accepted_inputs(model, batch)
    if wanted == Wanted():
        return Inside(model(**inputs).logits)
    parts = parts_of(model)
    options = {}
    if wanted.hidden_states:
        options["output_hidden_states"] = True
    if wanted.attentions:
        options["output_attentions"] = True
    with _eager(parts, wanted.attentions), _vectors(parts, wanted.vectors) as vectors:
        output = model(**inputs, **options)
    layers = len(parts.layers)
    return Inside(
        output.logits,
        _complete(output, "hidden_states", layers + 1) if wanted.hidden_states else (),
        _complete(output, "attentions", layers) if wanted.attentions else (),
        vectors,
    )


def head_count(parts: EncoderParts, layer: int) -> int:
    """Returns the number of attention heads of a layer, pruned or not."""
    block = parts.names.block
    attention: Any = parts.layers[layer].get_submodule(block.attention)
    first: Any = parts.layers[layer].get_submodule(block.qkv[0])
    return int(first.out_features) * len(block.qkv) // 3 // int(getattr(attention, block.head_size))


@contextmanager
def _eager(parts: EncoderParts, needed: bool) -> Iterator[None]:
    """The implementation of attention that shows its probabilities; puts the model's own back."""
    before = parts.encoder.config._attn_implementation
    if not needed or before == "eager":
        yield
        return
    parts.encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        parts.encoder.set_attn_implementation(before)


@contextmanager
def _vectors(parts: EncoderParts, layers: Sequence[int]) -> Iterator[dict[int, tuple[Tensor, ...]]]:
    found: dict[int, tuple[Tensor, ...]] = {}
    handles: list[RemovableHandle] = []
    try:
        for layer in layers:
            for name in parts.names.block.qkv:
                linear = parts.layers[layer].get_submodule(name)
                handles.append(linear.register_forward_hook(_keep(found, layer)))
        yield found
    finally:
        for handle in handles:
            handle.remove()
    for layer, tensors in found.items():
        found[layer] = tensors if len(tensors) == 3 else tuple(tensors[0].chunk(3, dim=-1))


def _keep(found: dict[int, tuple[Tensor, ...]], layer: int) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        found[layer] = (*found.get(layer, ()), output)

    return hook


def _complete(output: Any, name: str, count: int) -> tuple[Tensor, ...]:
    tensors = tuple(getattr(output, name, None) or ())
    if len(tensors) != count or any(tensor is None for tensor in tensors):
        raise UnsupportedModelError(
            f"the model puts out {len(tensors)} {name.replace('_', ' ')} of {count} wanted; distil its logits only"
        )
    return tensors
