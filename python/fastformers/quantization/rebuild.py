# SPDX-License-Identifier: MIT
"""Builds a saved model again: the stock class without weights, then packed layers and tensors from the file."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.errors import FastformersError, FormatError
from fastformers.modules import PackedLinear
from fastformers.modules.layer_shapes import LayerShape, resize_
from fastformers.modules.own_heads import OWN_HEADS
from fastformers.modules.rowwise_embedding import RowwiseEmbedding
from fastformers.quantization.families import FAST_PATHS, fusable_activation
from fastformers.quantization.manifest import LayerEntry, Manifest

__all__ = ["TensorFile", "fill", "hollow_model", "open_tensors"]

_ATTENTIONS = ("eager", "sdpa")


class TensorFile:
    """The tensors of an open safetensors file, each read at most once; :meth:`finish` refuses leftovers."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = set(file.keys())

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        """Reads a tensor of known shape into memory of its own.

        Raises:
            FormatError: it is absent, was taken before, or has another shape or dtype.
        """
        if name not in self._left:
            raise FormatError(f"model.safetensors holds no tensor {name!r}, which the model needs")
        self._left.discard(name)
        found = tuple(self._file.get_slice(name).get_shape())
        if found != shape:
            raise FormatError(
                f"tensor {name} has shape {list(found)} in the file, {list(shape)} in the model"
            )
        tensor: Tensor = self._file.get_tensor(name)
        if dtype is not None and tensor.dtype != dtype:
            raise FormatError(f"tensor {name} is {tensor.dtype} in the file, must be {dtype}")
        return tensor.clone()

    def finish(self) -> None:
        """Checks that nothing is left over."""
        if self._left:
            raise FormatError(
                f"model.safetensors holds {min(self._left)!r}, which the model has no place for"
            )


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Opens a safetensors file.

    Raises:
        FormatError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield TensorFile(file)
    except SafetensorError as error:
        raise FormatError(f"{path.name} is damaged: {error}") from error


def hollow_model(
    architecture: str,
    config: Mapping[str, Any],
    attention: str | None,
    shapes: Sequence[LayerShape] | None = None,
) -> nn.Module:
    """Builds a class of transformers, or one of our heads on one, with parameters that have shapes but no memory.

    Args:
        architecture: name of the class.
        config: content of ``config.json``.
        attention: attention implementation.
        shapes: sizes of the layers, where they are not those of the config.

    Raises:
        FormatError: the class, the config or the shapes are not ones transformers knows or can take.
        MissingExtraError: transformers is not installed.
    """
    transformers = require("transformers", "torch", "loading a saved transformers model")
    kind = _class_of(transformers, architecture)
    if "auto_map" in config or "quantization_config" in config:
        raise FormatError(
            "config.json asks for code or for another quantization method; neither is ever loaded"
        )
    plain = {key: value for key, value in config.items() if "attn_implementation" not in key}
    model_type = plain.pop("model_type", None)
    try:
        built = transformers.AutoConfig.for_model(model_type, **plain)
        if attention in _ATTENTIONS:
            built._attn_implementation = attention
        with torch.device("meta"):
            model = _built(kind, built, architecture)
        if shapes is not None:
            resize_(model, shapes)
        return model
    except Exception as error:  # whatever a wrong value in a config sets off inside transformers
        raise FormatError(f"config.json does not build a {architecture}: {error}") from error


def _class_of(transformers: Any, architecture: str) -> Any:
    if architecture in OWN_HEADS:
        return OWN_HEADS[architecture]
    kind: Any = getattr(transformers, architecture, None)
    if not _is_class_of(kind, transformers.PreTrainedModel):
        raise FormatError(f"transformers {transformers.__version__} has no model class {architecture!r}")
    return kind


def _built(kind: Any, config: Any, architecture: str) -> nn.Module:
    if kind in OWN_HEADS.values():
        own: nn.Module = kind.from_config(config)
        return own
    if not isinstance(config, kind.config_class):
        raise ValueError(f"a {config.model_type!r} config does not belong to {architecture}")
    model: nn.Module = kind(config)
    return model


def _is_class_of(kind: object, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def fill(model: nn.Module, manifest: Manifest, tensors: TensorFile) -> None:
    """Puts packed layers and stored tensors into a float model.

    Raises:
        FormatError: manifest, file and model do not fit together. The model is then of no use.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    packed = {name: _packed_layer(name, entry, modules, tensors) for name, entry in manifest.layers.items()}
    for name, layer in packed.items():
        _set_child(modules, name, layer)
    for name, target in manifest.same_layers.items():
        _linear(modules, name)
        _set_child(modules, name, packed[target])
    tables = {name: _table(name, modules, tensors) for name in dict.fromkeys(manifest.embeddings.values())}
    for name, target in manifest.embeddings.items():
        _embedding(modules, name)
        _set_child(modules, name, tables[target])
    for name in manifest.identities:
        _set_identity(modules, name)
    for name, values in manifest.attributes.items():
        _set_attributes(modules, name, values)
    _fill_tensors(model, manifest, tensors)
    tensors.finish()


def _packed_layer(
    name: str, entry: LayerEntry, modules: Mapping[str, nn.Module], tensors: TensorFile
) -> PackedLinear:
    linear = _linear(modules, name)
    shape = (entry.out_features, entry.in_features)
    if (linear.out_features, linear.in_features) != shape:
        expected = [linear.out_features, linear.in_features]
        raise FormatError(
            f"layer {name} has shape {list(shape)} in fastformers.json, {expected} in the model"
        )
    float32 = torch.float32
    weight = tensors.take(f"{name}.weight", shape, torch.int8)
    scale = tensors.take(f"{name}.weight_scale", shape[:1], float32)
    bias = tensors.take(f"{name}.bias", shape[:1], float32) if entry.bias else None
    factors = tensors.take(f"{name}.input_factors", shape[1:], float32) if entry.input_factors else None
    try:
        return PackedLinear.from_quantized(
            weight, scale, bias, factors=factors, activation=entry.activation, per_tensor=entry.per_tensor
        )
    except FastformersError as error:
        raise FormatError(f"layer {name} in model.safetensors is refused: {error}") from error


def _table(name: str, modules: Mapping[str, nn.Module], tensors: TensorFile) -> RowwiseEmbedding:
    embedding = _embedding(modules, name)
    rows, columns = embedding.num_embeddings, embedding.embedding_dim
    values = tensors.take(f"{name}.weight", (rows, columns), torch.uint8)
    scale, bias = (
        tensors.take(f"{name}.{part}", (rows,), torch.float32) for part in ("weight_scale", "weight_bias")
    )
    if not (torch.isfinite(scale).all() and torch.isfinite(bias).all()):
        raise FormatError(f"the table {name} in model.safetensors has a scale or bias that is not finite")
    return RowwiseEmbedding.from_parts(values, scale, bias)


def _embedding(modules: Mapping[str, nn.Module], name: str) -> nn.Embedding:
    module = modules.get(name)
    if not isinstance(module, nn.Embedding):
        raise FormatError(
            f"fastformers.json names the table {name!r}, which is no embedding table of the model"
        )
    return module


def _linear(modules: Mapping[str, nn.Module], name: str) -> nn.Linear:
    module = modules.get(name)
    if not isinstance(module, nn.Linear) or not name:
        raise FormatError(f"fastformers.json names the layer {name!r}, which is no linear layer of the model")
    return module


def _set_child(modules: Mapping[str, nn.Module], name: str, child: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(modules[parent], attribute, child)


def _set_identity(modules: Mapping[str, nn.Module], name: str) -> None:
    parent_name, _, attribute = name.rpartition(".")
    parent = modules.get(parent_name)
    fused = parent is not None and any(
        isinstance(child, PackedLinear) and fusable_activation(parent, key) == attribute
        for key, child in parent._modules.items()
    )
    if not fused:
        raise FormatError(f"fastformers.json names the activation {name!r}, which follows no packed layer")
    _set_child(modules, name, nn.Identity())


def _set_attributes(modules: Mapping[str, nn.Module], name: str, values: Mapping[str, Any]) -> None:
    module = modules.get(name)
    for attribute, value in values.items():
        known = [kind for kind, known, allowed in FAST_PATHS if (known, allowed) == (attribute, value)]
        if not any(isinstance(module, kind) for kind in known):
            raise FormatError(f"fastformers.json sets {name}.{attribute}, which is not allowed")
        setattr(module, attribute, value)


def _fill_tensors(model: nn.Module, manifest: Manifest, tensors: TensorFile) -> None:
    """Gives memory and values to all that is not in a packed layer."""
    owners = {
        f"{prefix}.{name}".removeprefix("."): (module, name)
        for prefix, module in model.named_modules(remove_duplicate=False)
        if not isinstance(module, PackedLinear | RowwiseEmbedding)
        for name in (*module._parameters, *module._buffers)
        if getattr(module, name) is not None
    }
    stored = _stored_names(model, owners, manifest)
    for name in stored:
        module, attribute = owners[name]
        _assign(module, attribute, tensors.take(name, tuple(getattr(module, attribute).shape)))
    for name, source in manifest.tied.items():
        if name not in owners or source not in stored:
            raise FormatError(f"fastformers.json ties {name!r} to {source!r}, which the model does not have")
        module, attribute = owners[name]
        target, target_attribute = owners[source]
        setattr(module, attribute, getattr(target, target_attribute))


def _stored_names(model: nn.Module, owners: Mapping[str, Any], manifest: Manifest) -> list[str]:
    """Names that have a tensor of their own: of a module registered twice, only the first."""
    first = {name for name, _ in model.named_modules()}
    return [name for name in owners if name not in manifest.tied and name.rpartition(".")[0] in first]


def _assign(module: nn.Module, attribute: str, tensor: Tensor) -> None:
    old = getattr(module, attribute)
    if tensor.dtype.is_floating_point != old.dtype.is_floating_point:
        raise FormatError(
            f"tensor {attribute} of {type(module).__name__} is {tensor.dtype}, must be like {old.dtype}"
        )
    if attribute in module._parameters:
        module._parameters[attribute] = nn.Parameter(tensor, requires_grad=old.requires_grad)
    else:
        module._buffers[attribute] = copy.copy(tensor)
