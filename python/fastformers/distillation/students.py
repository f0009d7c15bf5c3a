# SPDX-License-Identifier: MIT
"""Students cut from a teacher: some of its layers, narrower if asked, every weight taken over from it.

Narrower means: the first units of each table, norm and linear layer are kept, the same ones everywhere, heads whole.
That is a start for training and no more: a narrower model's answers are of no use before. What a student of fewer heads
at the same hidden width needs is a choice of heads by what they are worth: :func:`fastformers.prune_`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules import PackedLinear
from fastformers.modules.encoder_names import EncoderParts, parts_of
from fastformers.modules.span_classifier import SpanClassifier

__all__ = ["make_student"]

#: What configs call the width of the feed-forward network, and its activation.
_INTERMEDIATE = ("intermediate_size", "hidden_dim")
_ACTIVATION = ("hidden_act", "activation", "hidden_activation")


def make_student(
    teacher: nn.Module,
    layers: Sequence[int] | None = None,
    *,
    heads: int | None = None,
    intermediate: int | None = None,
    hidden: int | None = None,
    activation: str | None = None,
) -> nn.Module:
    """Makes a smaller copy of a model; the model itself is not changed.

    Args:
        teacher: a float model of a family of :mod:`fastformers.modules.encoder_names`, with any head.
        layers: the layers to keep, from 0, ascending; ``None`` keeps all.
        heads: attention heads of a layer; goes with ``hidden``, which is heads times the teacher's head size.
        intermediate: width of the feed-forward network.
        hidden: width of everything else, a multiple of the teacher's head size.
        activation: of the feed-forward network, e.g. ``"relu"``, which is faster than GELU; answers change until the
            student is trained.

    Returns:
        The student, in evaluation mode, of the teacher's class. With all layers and no other choice it computes what
        the teacher does.

    Raises:
        ConfigError: a layer does not exist, or a width is larger than the teacher's or does not fit its heads.
        UnsupportedModelError: the family is unknown, holds INT8 layers, or cannot lose a layer asked for.

    Example:
        >>> student = make_student(teacher, layers=(0, 2, 4), activation="relu")  # doctest: +SKIP
    """
    parts = parts_of(teacher)
    if any(isinstance(module, PackedLinear) for module in teacher.modules()):
        raise UnsupportedModelError("students are cut from float models; this one holds INT8 layers")
    student = deepcopy(teacher)
    if layers is not None:
        _keep_layers_(parts_of(student), _checked_layers(parts, layers))
    if activation is not None:
        _set_activation_(parts_of(student), activation)
    sizes = _Sizes(parts_of(student), heads, intermediate, hidden)
    return (_narrowed(student, sizes) if sizes.changed else student).eval()


def _checked_layers(parts: EncoderParts, layers: Sequence[int]) -> list[int]:
    count, kept = len(parts.layers), [int(layer) for layer in layers]
    if not kept or kept != sorted(set(kept)) or not (0 <= kept[0] and kept[-1] < count):
        raise ConfigError(
            f"layers is {list(layers)}; it must name layers from 0 to {count - 1}, each once, in ascending order"
        )
    norm = parts.layers[0].get_submodule(parts.names.block.attention_norm)
    if isinstance(norm, nn.Identity) and kept[0] != 0:
        raise UnsupportedModelError(
            f"{parts.names.name}'s first layer is built differently (it has no norm) and must be kept: "
            f"layers must begin with 0, not {kept[0]}"
        )
    return kept


def _keep_layers_(parts: EncoderParts, kept: list[int]) -> None:
    layers = [parts.layers[layer] for layer in kept]
    parent, _, name = parts.names.layers.rpartition(".")
    setattr(parts.encoder.get_submodule(parent), name, nn.ModuleList(layers))
    for index, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = index  # type: ignore[assignment]
    config = parts.encoder.config
    types = getattr(config, "layer_types", None)
    if types is not None:
        config.layer_types = [types[layer] for layer in kept]
    config.num_hidden_layers = len(kept)


def _set_activation_(parts: EncoderParts, activation: str) -> None:
    activations = require("transformers.activations", "torch", "fastformers.distillation.make_student")
    if activation not in activations.ACT2FN:
        raise ConfigError(
            f"activation is {activation!r}, which transformers does not know; e.g. 'relu', 'gelu'"
        )
    for layer in parts.layers:
        parent, _, name = parts.names.block.activation.rpartition(".")
        setattr(layer.get_submodule(parent), name, activations.ACT2FN[activation])
    _set_known(parts.encoder.config, _ACTIVATION, activation)


def _set_known(config: Any, names: Sequence[str], value: object) -> None:
    for name in names:
        if hasattr(config, name):
            setattr(config, name, value)


class _Sizes:
    """The widths of a student, checked against the model it is cut from."""

    def __init__(
        self, parts: EncoderParts, heads: int | None, intermediate: int | None, hidden: int | None
    ) -> None:
        config, block = parts.encoder.config, parts.names.block
        attention: Any = parts.layers[0].get_submodule(block.attention)
        down: Any = parts.layers[0].get_submodule(block.down)
        head_size = int(getattr(attention, block.head_size))
        before = {"hidden": int(config.hidden_size), "intermediate": int(down.in_features)}
        self.hidden = before["hidden"] if hidden is None else hidden
        self.intermediate = before["intermediate"] if intermediate is None else intermediate
        for name, width in before.items():
            if not 1 <= getattr(self, name) <= width:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, must be from 1 to {width}, the teacher's"
                )
        self.heads = self.hidden // head_size if heads is None else heads
        stock = self.heads * head_size == self.hidden
        self.changed = (self.hidden, self.intermediate) != tuple(before.values())
        if (self.changed or heads is not None) and not stock:
            raise ConfigError(
                f"hidden {self.hidden} is not {self.heads} heads of the teacher's head size {head_size}: choose hidden "
                "as a multiple of it, or drop heads at the same width with fastformers.prune_"
            )

    def set_in(self, parts: EncoderParts, config: Any) -> None:
        """Writes the widths into a config."""
        if getattr(config, "embedding_size", None) == config.hidden_size:
            config.embedding_size = self.hidden  # without a projection both are one width
        config.hidden_size = self.hidden
        config.num_attention_heads = self.heads
        _set_known(config, _INTERMEDIATE, self.intermediate)


def _narrowed(model: nn.Module, sizes: _Sizes) -> nn.Module:
    """A model of the same class with smaller sizes, filled with the first units of everything."""
    parts = parts_of(model)
    config = deepcopy(parts.encoder.config)
    sizes.set_in(parts, config)
    with torch.random.fork_rng(devices=[]):
        is_span = isinstance(model, SpanClassifier)
        narrow: nn.Module = SpanClassifier.from_config(config) if is_span else type(model)(config)
    source, target = model.state_dict(), narrow.state_dict()
    fits = source.keys() == target.keys() and all(
        all(small <= large for small, large in zip(target[name].shape, tensor.shape, strict=True))
        for name, tensor in source.items()
    )
    if not fits:
        raise ConfigError(
            f"a {type(model).__name__} of hidden {sizes.hidden} and intermediate {sizes.intermediate} is not a part of "
            "this one, because it was pruned, or has another projection after its embeddings: choose layers alone, or "
            "other widths"
        )
    groups = _groups(parts, model)
    narrow.load_state_dict(
        {name: _first(source[name], tensor.shape, groups.get(name, ())) for name, tensor in target.items()}
    )
    return narrow


def _groups(parts: EncoderParts, model: nn.Module) -> Mapping[str, tuple[int, ...]]:
    """Parameters that hold several tensors side by side: name -> how many of them along each dimension."""
    names, block = parts.names, parts.names.block
    rows = {block.qkv[0]: 3} if len(block.qkv) == 1 else {}
    if names.gated:
        rows[block.up] = 2
    found: dict[str, tuple[int, ...]] = {
        _name_of(model, module, parameter): (count,)
        for layer in parts.layers
        for path, count in rows.items()
        for module in [layer.get_submodule(path)]
        for parameter, _ in module.named_parameters()
    }
    if isinstance(model, SpanClassifier):
        found["classifier.weight"] = (1, int(model.config.num_spans))
    return found


def _name_of(model: nn.Module, module: nn.Module, parameter: str) -> str:
    path = next(name for name, each in model.named_modules() if each is module)
    return f"{path}.{parameter}"


def _first(tensor: Tensor, shape: Sequence[int], groups: Sequence[int]) -> Tensor:
    """The first entries along each dimension, of each of the groups that lie side by side there."""
    for dimension, size in enumerate(shape):
        count = groups[dimension] if dimension < len(groups) else 1
        split = tensor.unflatten(dimension, (count, -1)).narrow(dimension + 1, 0, size // count)
        tensor = split.flatten(dimension, dimension + 1)
    return tensor
