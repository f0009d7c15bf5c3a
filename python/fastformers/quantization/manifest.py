# SPDX-License-Identifier: MIT
"""``fastformers.json``: what a saved INT8 model consists of, read with suspicion.

Nothing in a manifest is trusted: types, ranges and names are checked, unknown versions are refused, and no file is
opened by a name that it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fastformers.errors import FormatError
from fastformers.files.fields import (
    ENCODER_FORMAT,
    TORCH_FORMAT,
    digest_field,
    field_of,
    file_name,
    short,
    size_field,
)
from fastformers.kernels import ACTIVATIONS, MAX_DEPTH, Activation
from fastformers.modules.layer_shapes import LayerShape

__all__ = ["FORMAT_VERSION", "LayerEntry", "Manifest"]

#: Version 2 added ``shapes``; version 3 ``embeddings``, and is written only where there are some.
FORMAT_VERSION = 2
_WITH_EMBEDDINGS = 3
_VERSIONS = (1, FORMAT_VERSION, _WITH_EMBEDDINGS)

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True)
class LayerEntry:
    """One packed layer.

    Attributes:
        out_features: N.
        in_features: K.
        bias: it has one.
        input_factors: it has equalisation factors.
        activation: fused into it.
        per_tensor: one activation range per call instead of one per row.
        decision: why it is INT8, with the times measured where it was converted; not looked at when loading.
    """

    out_features: int
    in_features: int
    bias: bool
    input_factors: bool
    activation: Activation | None
    per_tensor: bool
    decision: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The content of ``fastformers.json``.

    Attributes:
        architecture: class of transformers to rebuild; None for any other model.
        attention: attention implementation the model used, "eager" or "sdpa".
        shapes: sizes of every layer of the encoder, where they differ from what the config builds (a pruned model).
        layers: packed layers by name.
        same_layers: further name of a packed layer -> its name in ``layers``.
        identities: activation modules that are ``nn.Identity``, because the layer before them does their work.
        attributes: module name -> attribute -> value, for what else was changed.
        tied: further name of a parameter -> the name it is stored under.
        files: file name -> {"bytes", "sha256"}.
        written_by: package and version.
        embeddings: 8-bit embedding tables: every name -> the name it is stored under.
    """

    architecture: str | None
    attention: str | None
    shapes: tuple[LayerShape, ...] | None
    layers: dict[str, LayerEntry]
    same_layers: dict[str, str]
    identities: tuple[str, ...]
    attributes: dict[str, dict[str, Any]]
    tied: dict[str, str]
    files: dict[str, dict[str, Any]]
    written_by: str
    embeddings: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, format name and version first."""
        layers = {name: {"kind": "packed_linear", **asdict(entry)} for name, entry in self.layers.items()}
        shapes = None if self.shapes is None else [asdict(shape) for shape in self.shapes]
        rest = {
            **asdict(self),
            "shapes": shapes,
            "layers": layers,
            "identities": list(self.identities),
        }
        if not self.embeddings:
            del rest["embeddings"]
        version = _WITH_EMBEDDINGS if self.embeddings else FORMAT_VERSION
        return {"format": TORCH_FORMAT, "format_version": version, **rest}

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Manifest:
        """Checks the content of a manifest.

        Raises:
            FormatError: it is of a newer version, or a field is missing, of the wrong type or out of range.
        """
        if content.get("format") == ENCODER_FORMAT:
            raise FormatError("the folder holds a compiled encoder: load it with fastformers.load")
        if content.get("format") != TORCH_FORMAT:
            raise FormatError(f"fastformers.json is not one of ours: format is {content.get('format')!r}")
        version = field_of(content, "format_version", int)
        if version not in _VERSIONS:
            known = ", ".join(map(str, _VERSIONS))
            raise FormatError(
                f"the artefact has format version {version}, this package reads {known}: upgrade fastformers"
            )
        layers = {_name(key): _layer(key, entry) for key, entry in field_of(content, "layers", dict).items()}
        same = _names_to_names(content, "same_layers")
        for target in same.values():
            if target not in layers:
                raise FormatError(
                    f"fastformers.json: same_layers names {target!r}, which is not among the layers"
                )
        return cls(
            architecture=_optional_name(content, "architecture"),
            attention=_optional_name(content, "attention"),
            shapes=_shapes(content.get("shapes")) if version > 1 else None,
            layers=layers,
            same_layers=same,
            identities=tuple(_name(name) for name in field_of(content, "identities", list)),
            attributes={
                key and _name(key): _attributes(entry)  # the model itself has the empty name
                for key, entry in field_of(content, "attributes", dict).items()
            },
            tied=_names_to_names(content, "tied"),
            files={
                file_name(key): _file_entry(key, entry)
                for key, entry in field_of(content, "files", dict).items()
            },
            written_by=field_of(content, "written_by", str),
            embeddings=_names_to_names(content, "embeddings") if version >= _WITH_EMBEDDINGS else {},
        )


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise FormatError(f"fastformers.json: {short(value)} is not the name of a module or tensor")
    return value


def _optional_name(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    return None if value is None else _name(value)


def _shapes(value: Any) -> tuple[LayerShape, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise FormatError(f"fastformers.json: shapes is {short(value)}, must be a list or null")
    return tuple(_shape(number, entry) for number, entry in enumerate(value))


def _shape(number: int, entry: Any) -> LayerShape:
    names = [each.name for each in fields(LayerShape)]
    if not isinstance(entry, dict) or sorted(entry) != sorted(names):
        raise FormatError(
            f"fastformers.json: shapes of layer {number} is {short(entry)}, must be an object with {', '.join(names)}"
        )
    sizes = {name: field_of(entry, name, int) for name in names}
    for name, size in sizes.items():
        if not 1 <= size <= MAX_DEPTH:
            raise FormatError(
                f"fastformers.json: {name} of layer {number} is {size}, must be from 1 to {MAX_DEPTH}"
            )
    return LayerShape(**sizes)


def _names_to_names(content: Mapping[str, Any], key: str) -> dict[str, str]:
    return {_name(name): _name(target) for name, target in field_of(content, key, dict).items()}


def _attributes(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not all(isinstance(value, bool | int) for value in entry.values()):
        raise FormatError(f"fastformers.json: attributes holds {short(entry)}")
    return {_name(name): value for name, value in entry.items()}


def _file_entry(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise FormatError(f"fastformers.json: files.{name} is {short(entry)}")
    return {"bytes": size_field(entry), "sha256": digest_field(entry, "sha256", name)}


def _layer(name: str, entry: Any) -> LayerEntry:
    if not isinstance(entry, dict) or entry.get("kind") != "packed_linear":
        raise FormatError(f"fastformers.json: layer {short(name)} is {short(entry)}, must be a packed_linear")
    columns, depth = field_of(entry, "out_features", int), field_of(entry, "in_features", int)
    if columns < 1 or not 1 <= depth <= MAX_DEPTH:
        raise FormatError(f"fastformers.json: layer {name} has shape [{columns}, {depth}]")
    activation = entry.get("activation")
    if activation is not None and (not isinstance(activation, str) or activation not in ACTIVATIONS):
        raise FormatError(f"fastformers.json: layer {name} has the unknown activation {short(activation)}")
    flags = [field_of(entry, key, bool) for key in ("bias", "input_factors", "per_tensor")]
    decision = field_of(entry, "decision", dict)
    return LayerEntry(columns, depth, flags[0], flags[1], activation, flags[2], decision)
