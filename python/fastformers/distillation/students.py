# SPDX-License-Identifier: MIT
"""Students cut from a teacher: some of its layers, narrower if asked, every weight taken over from it.

Narrower means: the first units of each table, norm and linear layer are kept, the same ones everywhere, heads whole.
That is a start for training and no more: a narrower model's answers are of no use before. To keep those heads and
neurons that are worth most, at the same hidden width, is what :func:`fastformers.prune_` is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules import holds_packed_layers
from fastformers.modules.config_names import INTERMEDIATE, set_activation_, set_known_
from fastformers.modules.encoder_names import EncoderParts, check_layers, keep_layers_, parts_of
from fastformers.modules.layer_shapes import LayerShape, resize_, shapes_in, shapes_of
from fastformers.modules.own_heads import OwnHead
from fastformers.modules.span_classifier import SpanClassifier

__all__ = ["make_student"]


def make_student(
    teacher: nn.Module,
    layers: Iterable[int] | None = None,
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
        heads: attention heads of a layer; by default as many as fill ``hidden``.
        intermediate: width of the feed-forward network.
        hidden: width of everything else, a multiple of the teacher's head size.
        activation: of the feed-forward network, e.g. ``"relu"``, which is faster than GELU; answers change until the
            student is trained.

    Returns:
        The student, in evaluation mode, of the teacher's class. With all layers and no other choice it computes what
        the teacher does.

    Raises:
        ConfigError: a layer does not exist, or a width is larger than the teacher's or does not fit its head size.
        UnsupportedModelError: the family is unknown, holds INT8 layers, or cannot lose a layer asked for.

    Example:
        >>> student = make_student(teacher, layers=(0, 2, 4), activation="relu")  # doctest: +SKIP
    """
    parts = parts_of(teacher)
    if holds_packed_layers(teacher):
        raise UnsupportedModelError("students are cut from float models; this one holds INT8 layers")
    student = deepcopy(teacher)
    if layers is not None:
        keep_layers_(parts_of(student), check_layers(parts, layers))
    if activation is not None:
        _set_activation_(parts_of(student), activation)
    if not (heads is None and intermediate is None and hidden is None):
        student = _narrowed(student, *_wanted(parts_of(student), heads, intermediate, hidden))
    return student.eval()


def _set_activation_(parts: EncoderParts, activation: str) -> None:
    set_activation_(parts.encoder.config, activation)
    modules = require("transformers.activations", "torch", "fastformers.distillation.make_student").ACT2FN
    for layer in parts.layers:
        parent, _, name = parts.names.block.activation.rpartition(".")
        setattr(layer.get_submodule(parent), name, modules[activation])


def _wanted(
    parts: EncoderParts, heads: int | None, intermediate: int | None, hidden: int | None
) -> tuple[int, list[LayerShape]]:
    """The hidden width and the layers' sizes of a student, checked against the model that it is cut from.

    A narrower hidden width without a number of heads keeps as many heads as fill it, or all of a layer pruned to fewer.
    """
    shapes = shapes_in(parts)
    width, head_size = int(parts.encoder.config.hidden_size), shapes[0].head_size
    _check_width("hidden", hidden, width)
    _check_width("heads", heads, min(shape.heads for shape in shapes))
    _check_width("intermediate", intermediate, min(shape.intermediate for shape in shapes))
    chosen = width if hidden is None else hidden
    if chosen != width and chosen % head_size:
        raise ConfigError(f"hidden is {chosen}, must be a multiple of the teacher's head size, {head_size}")
    most = shapes[0].heads if chosen == width else chosen // head_size
    return chosen, [
        LayerShape(
            heads or (shape.heads if chosen == width else min(most, shape.heads)),
            shape.head_size,
            intermediate or shape.intermediate,
        )
        for shape in shapes
    ]


def _check_width(name: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise ConfigError(f"{name} is {value}, must be from 1 to {most}, the teacher's")


def _narrowed(model: nn.Module, hidden: int, shapes: Sequence[LayerShape]) -> nn.Module:
    """A model of the same class with smaller sizes, filled with the first units of everything."""
    narrow = _frame(model, hidden, shapes)
    source, target = model.state_dict(), narrow.state_dict()
    if source.keys() != target.keys():
        raise ConfigError(
            f"with hidden={hidden} a {type(model).__name__} has another projection after its embeddings than this one: "
            "choose another width"
        )
    groups = _groups(parts_of(model), model)
    narrow.load_state_dict(
        {name: _first(source[name], tensor.shape, groups.get(name, ())) for name, tensor in target.items()}
    )
    return narrow


def _frame(model: nn.Module, hidden: int, shapes: Sequence[LayerShape]) -> nn.Module:
    """A model of the same class with those sizes and weights of no meaning.

    The config gets them as far as it has words for them, so that transformers can load the student; what it has none
    for, fewer heads than fill the width or layers that differ, is in the modules, and in our artefacts.
    """
    config = deepcopy(parts_of(model).encoder.config)
    if hidden != config.hidden_size:
        if getattr(config, "embedding_size", None) == config.hidden_size:
            config.embedding_size = hidden  # without a projection both are one width
        config.hidden_size = hidden
        config.num_attention_heads = hidden // shapes[0].head_size
    set_known_(config, INTERMEDIATE, shapes[0].intermediate)
    with torch.random.fork_rng(devices=[]):
        frame: nn.Module = model.from_config(config) if isinstance(model, OwnHead) else type(model)(config)
    if shapes_of(frame) != tuple(shapes):
        resize_(frame, shapes)
    return frame


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
