# SPDX-License-Identifier: MIT
"""Saves models with INT8 layers or pruned ones and loads them again: safetensors and strict JSON, for every CPU.

    config.json         transformers' configuration, with the class to rebuild
    fastformers.json    sizes of pruned layers, which are packed and how, what was fused, digests (manifest.py)
    model.safetensors   canonical int8 weights with scales, 8-bit embedding tables, and everything else as it was
    report.json         what quantization measured where the model was converted
    other .json files   what the caller adds, e.g. task.json
    tokenizer files     as the tokenizer saves them

Loading builds the stock class of transformers without allocating its weights, gives its layers the sizes noted, and
packs the INT8 layers for the CPU at hand. Layers that stayed float stay float: nothing is measured again. No pickle and
no remote code is reachable.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from fastformers import __version__
from fastformers.errors import FormatError, UnsupportedModelError
from fastformers.files.digests import sha256_of_file
from fastformers.files.extra_files import ExtraFiles, write_extra_files
from fastformers.files.fields import MANIFEST
from fastformers.files.plain_file import refused_link
from fastformers.files.replaced_folder import replaced_folder
from fastformers.files.strict_json import read_json, write_json
from fastformers.modules import PackedLinear
from fastformers.modules.encoder_names import names_of
from fastformers.modules.layer_shapes import LayerShape, resize_, shapes_of
from fastformers.modules.own_heads import OWN_HEADS, without_own_head
from fastformers.modules.rowwise_embedding import RowwiseEmbedding
from fastformers.quantization.families import FAST_PATHS, fusable_activation
from fastformers.quantization.manifest import LayerEntry, Manifest
from fastformers.quantization.rebuild import fill, hollow_model, open_tensors
from fastformers.quantization.report import REPORT_ATTRIBUTE, QuantizationReport

__all__ = ["load_pretrained_torch", "save_pretrained"]

CONFIG, TENSORS, REPORT = "config.json", "model.safetensors", "report.json"

_MOST_JSON_BYTES = 16 << 20


def save_pretrained(
    model: nn.Module,
    path: str | Path,
    tokenizer: Any = None,
    *,
    extra: ExtraFiles | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a torch model, quantized or not, as a folder.

    The folder appears in one step when all is written; an interrupted save leaves what was there before. Use this and
    not ``model.save_pretrained`` of transformers, which could load neither INT8 layers nor pruned ones again.

    Args:
        model: a transformers model, one of our heads over one, or any other (which
            :func:`load_pretrained_torch` then needs an instance of).
        path: folder to make; its parent must exist.
        tokenizer: saved beside the model.
        extra: further JSON files by name, e.g. ``{"task.json": {...}}``.
        overwrite: replace a model saved there before.

    Raises:
        ConfigError: something is there and ``overwrite`` is False, or it is not a saved model; an extra file's name or
            content is refused.
        UnsupportedModelError: a transformers model whose shapes differ from what its config builds, in more than the
            heads and neurons of its layers; or a module's name that a saved model cannot hold.

    Example:
        >>> ff.save_pretrained(model, "my-bert-int8", tokenizer)
        >>> model = ff.load_pretrained_torch("my-bert-int8")
    """
    architecture = _architecture(model)
    tensors, tied = _tensors_of(model)
    shapes = None if architecture is None else _checked_shapes(model, architecture)
    report: QuantizationReport | None = getattr(model, REPORT_ATTRIBUTE, None)
    with replaced_folder(Path(path), overwrite, marker=MANIFEST) as folder:
        save_file(tensors, folder / TENSORS)
        if architecture is not None:
            write_json(folder / CONFIG, _config_dict(model, architecture))
        if report is not None:
            write_json(folder / REPORT, report.to_dict())
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))
        write_extra_files(folder, extra or {})
        written = sorted(file for file in folder.iterdir() if file.is_file())
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)} for file in written
        }
        manifest = _manifest(model, architecture, shapes, report, tied, files).to_dict()
        _check_readable(manifest)
        write_json(folder / MANIFEST, manifest)


def load_pretrained_torch(
    path: str | Path, model: nn.Module | None = None, *, verify: bool = True
) -> nn.Module:
    """Loads a model saved by :func:`save_pretrained`, in evaluation mode.

    Args:
        path: the folder.
        model: for models other than transformers': a float instance of the saved class, which is filled.
        verify: compare the files' digests with those noted when they were written.

    Returns:
        The model, its INT8 layers packed for this CPU.

    Raises:
        FormatError: a file is missing, damaged, of a newer format, or does not fit the model; says which and why.
        UnsupportedModelError: the saved model is not of transformers and ``model`` was not given.
        MissingExtraError: transformers is not installed; or fbgemm-gpu, for a model with 8-bit embedding tables.
    """
    folder = Path(path)
    manifest = Manifest.parse(_read(folder / MANIFEST))
    _check_files(folder, manifest, verify)
    if model is None:
        if manifest.architecture is None:
            raise UnsupportedModelError(
                f"{folder} holds a model that is not of transformers: pass a new float instance of it as model="
            )
        if CONFIG not in manifest.files:
            raise FormatError(
                f"fastformers.json lists no {CONFIG}, though it names the class {manifest.architecture}"
            )
        config = _read(folder / CONFIG)
        model = hollow_model(manifest.architecture, config, manifest.attention, manifest.shapes)
    with open_tensors(folder / TENSORS) as tensors:
        fill(model, manifest, tensors)
    if REPORT in manifest.files:
        model.__dict__[REPORT_ATTRIBUTE] = QuantizationReport.from_dict(_read(folder / REPORT))
    return model.eval()


def _check_readable(manifest: dict[str, Any]) -> None:
    """Reads a manifest as loading will, so that a name which that refuses is told now, not when the model is gone."""
    try:
        Manifest.parse(manifest)
    except FormatError as error:
        raise UnsupportedModelError(f"the model could not be loaded again: {error}") from error


def _architecture(model: nn.Module) -> str | None:
    """Name of the model's class where it can be built again from a config.

    That is a class of transformers itself, not one derived from it, or one of our heads over a base model of it.
    """
    if type(model) in OWN_HEADS.values():
        inner = without_own_head(model)
        parts = names_of(inner)
        is_base = parts is not None and type(inner).__name__ == parts.model
        return type(model).__name__ if is_base and _is_theirs(inner) else None
    return type(model).__name__ if _is_theirs(model) else None


def _is_theirs(model: nn.Module) -> bool:
    return type(model).__module__.startswith("transformers.models.") and hasattr(model, "config")


def _config_dict(model: nn.Module, architecture: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(model.config.to_json_string())  # type: ignore[union-attr, operator]
    content.pop("auto_map", None)  # would point at code
    return {**content, "architectures": [architecture]}


def _checked_shapes(model: nn.Module, architecture: str) -> tuple[LayerShape, ...] | None:
    """Checks that loading, which builds the stock class from the config, will find the shapes this model has.

    Returns:
        The sizes of its layers, where they are not those that the config builds.
    """
    stock = hollow_model(architecture, _config_dict(model, architecture), None)
    sizes = None
    if names_of(without_own_head(model)) is not None:
        own = shapes_of(model)
        before = shapes_of(stock)
        if own != before and len(own) == len(before):
            resize_(stock, own)
            sizes = own
    expected, found = (_shapes(each) for each in (stock, model))
    odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if odd:
        raise UnsupportedModelError(
            f"{odd[0]} is {_shape_text(found.get(odd[0]))} in this model and {_shape_text(expected.get(odd[0]))} in a "
            f"{architecture} built from its config: it could not be loaded again"
        )
    return sizes


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's parameters by name; an 8-bit weight as its float one's."""
    shapes = {
        name: tuple(parameter.shape) for name, parameter in model.named_parameters(remove_duplicate=False)
    }
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, PackedLinear):
            shapes[f"{name}.weight"] = (module.out_features, module.in_features)
        if isinstance(module, RowwiseEmbedding):
            shapes[f"{name}.weight"] = (module.num_embeddings, module.embedding_dim)
    return shapes


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"


def _tensors_of(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Everything to store by name, and further names of what is stored once."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first_name: dict[int, str] = {}
    for module_name, module in model.named_modules():
        prefix = f"{module_name}." if module_name else ""
        if isinstance(module, PackedLinear):
            state: dict[str, Tensor] = {}
            module._save_to_state_dict(state, prefix, keep_vars=False)
            tensors.update(state)
            continue
        if isinstance(module, RowwiseEmbedding):
            parts = ("weight", "weight_scale", "weight_bias")
            tensors.update(zip((prefix + part for part in parts), module.parts(), strict=True))
            continue
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None:
                continue
            known = first_name.setdefault(id(tensor), prefix + name)
            if known != prefix + name:
                tied[prefix + name] = known
            else:
                tensors[prefix + name] = tensor.detach().clone().contiguous()
    return tensors, tied


def _manifest(
    model: nn.Module,
    architecture: str | None,
    shapes: tuple[LayerShape, ...] | None,
    report: QuantizationReport | None,
    tied: dict[str, str],
    files: dict[str, dict[str, Any]],
) -> Manifest:
    layers: dict[str, LayerEntry] = {}
    same: dict[str, str] = {}
    first_name: dict[int, str] = {}
    decisions = {} if report is None else {layer["name"]: layer for layer in report.to_dict()["layers"]}
    for name, module in model.named_modules(remove_duplicate=False):
        if not isinstance(module, PackedLinear):
            continue
        known = first_name.setdefault(id(module), name)
        if known != name:
            same[name] = known
        else:
            layers[name] = _entry(module, decisions.get(name, {}))
    return Manifest(
        architecture=architecture,
        attention=getattr(getattr(model, "config", None), "_attn_implementation", None),
        shapes=shapes,
        layers=layers,
        same_layers=same,
        identities=_identities(model),
        attributes=_attributes(model),
        tied=tied,
        files=files,
        written_by=f"fastformers {__version__}",
        embeddings=_tables(model),
    )


def _tables(model: nn.Module) -> dict[str, str]:
    """Every name of an 8-bit table -> the first one."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(module), name)
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, RowwiseEmbedding)
    }


def _entry(layer: PackedLinear, decision: dict[str, Any]) -> LayerEntry:
    return LayerEntry(
        layer.out_features,
        layer.in_features,
        layer.bias is not None,
        layer.input_factors is not None,
        layer.activation,
        layer.per_tensor,
        {key: decision[key] for key in ("decision", "reason", "timings", "sqnr_db") if key in decision},
    )


def _identities(model: nn.Module) -> tuple[str, ...]:
    found = []
    for name, parent in model.named_modules():
        for attribute, child in parent._modules.items():
            if not isinstance(child, PackedLinear) or child.activation is None:
                continue
            activation = fusable_activation(parent, attribute)
            if activation is not None and isinstance(getattr(parent, activation, None), nn.Identity):
                found.append(f"{name}.{activation}".strip("."))
    return tuple(found)


def _attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        for kind, attribute, value in FAST_PATHS:
            if isinstance(module, kind) and getattr(module, attribute, None) == value:
                found.setdefault(name, {})[attribute] = value
    return found


def _check_files(folder: Path, manifest: Manifest, verify: bool) -> None:
    if TENSORS not in manifest.files:
        raise FormatError(f"fastformers.json lists no {TENSORS}")
    for name, noted in manifest.files.items():
        file = folder / name
        if file.is_symlink():
            raise refused_link(name)
        if not file.is_file():
            raise FormatError(f"{name} is missing or not a plain file: the artefact is incomplete")
        size = file.stat().st_size
        if size != noted["bytes"]:
            raise FormatError(
                f"{name} has {size} bytes, {noted['bytes']} were written: it is cut short or replaced"
            )
        if verify and sha256_of_file(file) != noted["sha256"]:
            raise FormatError(f"{name} is damaged: its SHA-256 is not the one noted when it was written")


def _read(file: Path) -> dict[str, Any]:
    return read_json(file, _MOST_JSON_BYTES)
