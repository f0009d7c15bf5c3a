# SPDX-License-Identifier: MIT
"""``fastformers.json``: what a saved INT8 model consists of, read with suspicion.

Nothing in a manifest is trusted: types, ranges and names are checked, unknown versions are refused, and no file is
opened by a name that it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastformers.errors import FormatError
from fastformers.kernels import ACTIVATIONS, MAX_DEPTH, Activation

__all__ = ["FORMAT_VERSION", "LayerEntry", "Manifest", "read_json"]

FORMAT_VERSION = 1

_MOST_BYTES = 16 << 20
_MOST_DEPTH = 16
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_T = TypeVar("_T")


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
        layers: packed layers by name.
        same_layers: further name of a packed layer -> its name in ``layers``.
        identities: activation modules that are ``nn.Identity``, because the layer before them does their work.
        attributes: module name -> attribute -> value, for what else was changed.
        tied: further name of a parameter -> the name it is stored under.
        files: file name -> {"bytes", "sha256"}.
        written_by: package and version.
    """

    architecture: str | None
    attention: str | None
    layers: dict[str, LayerEntry]
    same_layers: dict[str, str]
    identities: tuple[str, ...]
    attributes: dict[str, dict[str, Any]]
    tied: dict[str, str]
    files: dict[str, dict[str, Any]]
    written_by: str

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, format name and version first."""
        layers = {name: {"kind": "packed_linear", **asdict(entry)} for name, entry in self.layers.items()}
        rest = {**asdict(self), "layers": layers, "identities": list(self.identities)}
        return {"format": "fastformers", "format_version": FORMAT_VERSION, **rest}

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Manifest:
        """Checks the content of a manifest.

        Raises:
            FormatError: it is of a newer version, or a field is missing, of the wrong type or out of range.
        """
        if content.get("format") != "fastformers":
            raise FormatError(f"fastformers.json is not one of ours: format is {content.get('format')!r}")
        version = _get(content, "format_version", int)
        if version != FORMAT_VERSION:
            raise FormatError(
                f"the artefact has format version {version}, this package reads {FORMAT_VERSION}: upgrade fastformers"
            )
        layers = {_name(key): _layer(key, entry) for key, entry in _get(content, "layers", dict).items()}
        same = _names_to_names(content, "same_layers")
        for target in same.values():
            if target not in layers:
                raise FormatError(
                    f"fastformers.json: same_layers names {target!r}, which is not among the layers"
                )
        return cls(
            architecture=_optional_name(content, "architecture"),
            attention=_optional_name(content, "attention"),
            layers=layers,
            same_layers=same,
            identities=tuple(_name(name) for name in _get(content, "identities", list)),
            attributes={
                key and _name(key): _attributes(entry)  # the model itself has the empty name
                for key, entry in _get(content, "attributes", dict).items()
            },
            tied=_names_to_names(content, "tied"),
            files={
                _file(key): _file_entry(key, entry) for key, entry in _get(content, "files", dict).items()
            },
            written_by=_get(content, "written_by", str),
        )


def read_json(path: Path) -> dict[str, Any]:
    """Reads one JSON object strictly.

    Raises:
        FormatError: missing, too large, nested too deep, not JSON, a key twice, NaN or infinity, not an object.
    """
    if path.is_symlink() or not path.is_file():
        raise FormatError(f"{path} is missing or not a plain file: the artefact is incomplete")
    if path.stat().st_size > _MOST_BYTES:
        raise FormatError(f"{path.name} is larger than {_MOST_BYTES} bytes")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path.name} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path.name} holds a {type(content).__name__}, must hold an object")
    if _depth(content) > _MOST_DEPTH:
        raise FormatError(f"{path.name} is nested deeper than {_MOST_DEPTH} levels")
    return content


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(part) for part in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(part) for part in value), default=0)
    return 0


def _get(content: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    value = content.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise FormatError(f"fastformers.json: {key} is {_short(value)}, must be of type {kind.__name__}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise FormatError(f"fastformers.json: {_short(value)} is not the name of a module or tensor")
    return value


def _file(value: Any) -> str:
    if not isinstance(value, str) or not _FILE.fullmatch(value):
        raise FormatError(f"fastformers.json: {_short(value)} is not a bare file name")
    return value


def _optional_name(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    return None if value is None else _name(value)


def _names_to_names(content: Mapping[str, Any], key: str) -> dict[str, str]:
    return {_name(name): _name(target) for name, target in _get(content, key, dict).items()}


def _attributes(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not all(isinstance(value, bool | int) for value in entry.values()):
        raise FormatError(f"fastformers.json: attributes holds {_short(entry)}")
    return {_name(name): value for name, value in entry.items()}


def _file_entry(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise FormatError(f"fastformers.json: files.{name} is {_short(entry)}")
    digest = _get(entry, "sha256", str)
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise FormatError(f"fastformers.json: sha256 of {name} is {_short(digest)}")
    return {"bytes": _get(entry, "bytes", int), "sha256": digest}


def _layer(name: str, entry: Any) -> LayerEntry:
    if not isinstance(entry, dict) or entry.get("kind") != "packed_linear":
        raise FormatError(
            f"fastformers.json: layer {_short(name)} is {_short(entry)}, must be a packed_linear"
        )
    columns, depth = _get(entry, "out_features", int), _get(entry, "in_features", int)
    if columns < 1 or not 1 <= depth <= MAX_DEPTH:
        raise FormatError(f"fastformers.json: layer {name} has shape [{columns}, {depth}]")
    activation = entry.get("activation")
    if activation is not None and (not isinstance(activation, str) or activation not in ACTIVATIONS):
        raise FormatError(f"fastformers.json: layer {name} has the unknown activation {_short(activation)}")
    flags = [_get(entry, key, bool) for key in ("bias", "input_factors", "per_tensor")]
    decision = _get(entry, "decision", dict)
    return LayerEntry(columns, depth, flags[0], flags[1], activation, flags[2], decision)
