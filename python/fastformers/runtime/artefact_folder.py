# SPDX-License-Identifier: MIT
"""Artefacts of compiled encoders: one folder for every CPU, safetensors and strict JSON, written in one step.

    fastformers.json    plan, attention, tokenisation, labels; size and digests of each other file (encoder_manifest.py)
    model.safetensors   canonical tensors by the names of fastformers.encoder_plan; packed at load, for the CPU found
    golden.safetensors  token sequences and the outputs they gave when the model was saved (golden.py)
    config.json         transformers' configuration
    tokenizer.json      the tokenizer, with tokenizer_config.json and special_tokens_map.json when it writes them
    report.json         what conversion measured; optional

Reading maps the files: nothing is copied, and sizes, shapes, dtypes and numbers are checked before anything is
allocated for the model. No pickle and no remote code is reachable. Torch is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastformers import __version__
from fastformers.answers import class_names
from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, FormatError
from fastformers.files.digests import checksum_of, sha256_of
from fastformers.files.extra_files import ExtraFiles, write_extra_files
from fastformers.files.fields import MANIFEST
from fastformers.files.plain_file import OpenFolder
from fastformers.files.replaced_folder import replaced_folder
from fastformers.files.strict_json import MOST_JSON_BYTES, json_bytes, parse_json
from fastformers.kernels import NativeEncoder
from fastformers.runtime.encoder_manifest import EncoderManifest, FileEntry, check_attention, head_entry
from fastformers.runtime.expected_tensors import check_layout, check_values, expected_tensors
from fastformers.runtime.golden import Golden
from fastformers.runtime.readouts import Readout, readouts
from fastformers.runtime.tensor_file import Tensors, read_tensors, write_tensors
from fastformers.runtime.tokenizer_files import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    check_no_code,
    tokenization_of,
    write_tokenizer,
)
from fastformers.text_head import TextHead

__all__ = ["EncoderArtefact", "Verify", "read_artefact", "save_artefact"]

Verify = Literal["fast", "full"]

CONFIG, TENSORS, GOLDEN, REPORT = "config.json", "model.safetensors", "golden.safetensors", "report.json"

_REQUIRED = (CONFIG, TENSORS, GOLDEN)
_MOST_TOKENIZER_BYTES = 64 << 20
_MOST_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class EncoderArtefact:
    """A checked artefact.

    Attributes:
        manifest: plan, attention, tokenisation, labels, source.
        tensors: read-only views of the mapped file, by the names of :mod:`fastformers.encoder_plan`.
        config: transformers' configuration.
        golden: sequences with their outputs.
        tokenizer_json: content of ``tokenizer.json``; ``None`` when no tokenizer was saved.
        report: what conversion measured; ``None`` when there is none.
        text_head: of a span or pair classifier; ``None`` for other models.
    """

    manifest: EncoderManifest
    tensors: Tensors
    config: dict[str, Any]
    golden: Golden
    tokenizer_json: bytes | None
    report: dict[str, Any] | None
    text_head: TextHead | None = None

    @property
    def plan(self) -> EncoderPlan:
        """What the encoder computes."""
        return self.manifest.plan


def save_artefact(
    path: str | Path,
    plan: EncoderPlan,
    tensors: Tensors,
    *,
    config: Mapping[str, Any],
    native: NativeEncoder | None = None,
    attention: str = "auto",
    tokenizer: Any = None,
    report: Mapping[str, Any] | None = None,
    result: str | None = None,
    notes: tuple[str, ...] = (),
    source: Mapping[str, str] | None = None,
    text_head: TextHead | None = None,
    extra: ExtraFiles | None = None,
    overwrite: bool = False,
) -> None:
    """Saves an encoder as a folder, which appears in one step when all is written.

    Args:
        path: folder to make; its parent must exist.
        plan: what the encoder computes.
        tensors: float32 or int8 arrays by the names of :mod:`fastformers.encoder_plan`.
        config: transformers' configuration as JSON values; ``id2label`` gives the labels of a classifier.
        native: the encoder at work, which gives the golden outputs; packed for the purpose when ``None``.
        attention: setting of the native executor, ``"auto"``, ``"float32"`` or ``"int8"``.
        tokenizer: of transformers or tokenizers, saved beside the model.
        report: what conversion measured, as JSON values.
        result: class of transformers' outputs that the torch-side encoder returns.
        notes: what the user should know.
        source: where the model came from, for people.
        text_head: of a span or pair classifier.
        extra: further JSON files by name.
        overwrite: replace an artefact saved there before.

    Raises:
        ConfigError: something is there and ``overwrite`` is False, a tensor is missing or has no place in the plan,
            an extra file's name or content is refused.
        DtypeError, ShapeError, NonFiniteError: a tensor is refused; names it and the reason.
        UnsupportedModelError: the tokenizer cannot be stored as data.
        FormatError: the configuration or the report is too large or nested too deep to be read again.

    Example:
        >>> save_artefact("my-encoder", plan, tensors, config={"model_type": "bert"})
        >>> read_artefact("my-encoder").plan == plan
        True
    """
    _check_arguments(plan, tensors, attention)
    plain = {key: value for key, value in config.items() if key != "auto_map"}  # would point at code
    with replaced_folder(Path(path), overwrite, marker=MANIFEST) as folder:
        write_tensors(folder / TENSORS, {**tensors, **({} if text_head is None else text_head.tensors())})
        native = native or NativeEncoder(plan.to_dict(), dict(tensors), 0, attention)
        golden = Golden.record(plan, native)
        write_tensors(folder / GOLDEN, golden.tensors())
        _write_json(folder / CONFIG, plain)
        if report is not None:
            _write_json(folder / REPORT, report)
        if tokenizer is not None:
            write_tokenizer(tokenizer, folder)
        write_extra_files(folder, extra or {})
        manifest = EncoderManifest(
            plan=plan,
            attention=attention,
            tokenization=None if tokenizer is None else tokenization_of(tokenizer, plan),
            labels=_labels(readouts(plan, text_head), config),
            result=result,
            notes=notes,
            source=dict(source or {}),
            text_head=head_entry(text_head),
            golden_tokens=len(golden.ids),
            golden_sequences=len(golden.lengths),
            files={file.name: _noted(folder, file.name) for file in sorted(folder.iterdir())},
            written_by=f"fastformers {__version__}",
        )
        EncoderManifest.parse(_write_json(folder / MANIFEST, manifest.to_dict()))


def read_artefact(path: str | Path, *, verify: Verify = "fast") -> EncoderArtefact:
    """Reads and checks an artefact, without packing it for this CPU.

    Args:
        path: the folder.
        verify: ``"fast"`` compares every byte with the checksum noted, at the speed of memory, and finds damage;
            ``"full"`` compares the SHA-256, and finds deliberate change too.

    Returns:
        Its content; tensors are views of the mapped file.

    Raises:
        FormatError: a file is missing, damaged, of a newer format, or does not fit the plan; says which and why.
    """
    if verify not in ("fast", "full"):
        raise ConfigError(f"verify is {verify!r}; allowed: 'fast', 'full'")
    for _ in range(_MOST_ATTEMPTS):
        with OpenFolder(Path(path)) as folder:
            try:
                return _read(folder, verify)
            except FormatError:
                if (
                    not folder.was_replaced()
                ):  # else: saved anew meanwhile, and what was read has been deleted
                    raise
    raise FormatError(f"{path} was replaced {_MOST_ATTEMPTS} times while it was read")


def _check_arguments(plan: EncoderPlan, tensors: Tensors, attention: str) -> None:
    check_attention(attention)
    rules = expected_tensors(plan)
    check_layout(rules, {name: (array.dtype.name, array.shape) for name, array in tensors.items()})
    for name, array in tensors.items():
        check_values(name, rules[name], array)


def _labels(found: Mapping[str, Readout], config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the logits' columns, where the configuration has one for each."""
    names = class_names(config.get("id2label"))
    if names is None or "logits" not in found or len(names) != found["logits"].columns:
        return None
    return names


def _check_labels(labels: tuple[str, ...] | None, found: Mapping[str, Readout]) -> None:
    if labels is None or "logits" not in found or len(labels) == found["logits"].columns:
        return
    raise FormatError(f"{MANIFEST}: labels are {len(labels)}, logits {found['logits'].columns}: one for each")


def _write_json(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Writes JSON after reading it back: what cannot be read must not be written."""
    text = json_bytes(content)
    values = parse_json(text, path.name)
    path.write_bytes(text)
    return values


def _noted(folder: Path, name: str) -> FileEntry:
    with OpenFolder(folder) as opened:
        content = opened.map(name)
        return FileEntry(len(content), sha256_of(content), checksum_of(content))


def _read(folder: OpenFolder, verify: Verify) -> EncoderArtefact:
    try:
        manifest_json = folder.read(MANIFEST, MOST_JSON_BYTES)
    except FormatError as error:
        raise FormatError(
            f"this is not the folder of a compiled encoder, which `fastformers compile` makes: {error}"
        ) from error
    manifest = EncoderManifest.parse(parse_json(manifest_json, MANIFEST))
    for name in _REQUIRED:
        if name not in manifest.files:
            raise FormatError(f"{MANIFEST} lists no {name}")
    contents = {name: folder.map(name) for name in manifest.files}
    for name, content in contents.items():
        _check_content(name, content, manifest.files[name], verify)
    plan = manifest.plan
    golden_rules = Golden.rules(plan, manifest.golden_tokens, manifest.golden_sequences)
    golden = Golden.from_tensors(plan, read_tensors(contents[GOLDEN], GOLDEN, golden_rules))
    entry = manifest.text_head
    rules = {**expected_tensors(plan), **({} if entry is None else entry.rules(plan.hidden))}
    tensors = dict(read_tensors(contents[TENSORS], TENSORS, rules))
    text_head = None if entry is None else entry.taken_from(tensors)
    _check_labels(manifest.labels, readouts(plan, text_head))
    return EncoderArtefact(
        manifest=manifest,
        tensors=tensors,
        text_head=text_head,
        config=_config(contents, CONFIG) or {},
        golden=golden,
        tokenizer_json=_tokenizer(contents),
        report=_config(contents, REPORT),
    )


def _check_content(name: str, content: memoryview, noted: FileEntry, verify: Verify) -> None:
    if len(content) != noted.bytes:
        raise FormatError(
            f"{name} has {len(content)} bytes, {noted.bytes} were written: it is cut short or replaced"
        )
    if checksum_of(content) != noted.checksum:
        raise FormatError(f"{name} is damaged: its checksum is not the one noted when it was written")
    if verify == "full" and sha256_of(content) != noted.sha256:
        raise FormatError(f"{name} was changed: its SHA-256 is not the one noted when it was written")


def _config(contents: Mapping[str, memoryview], name: str) -> dict[str, Any] | None:
    if name not in contents:
        return None
    content = contents[name]
    if len(content) > MOST_JSON_BYTES:
        raise FormatError(f"{name} is larger than {MOST_JSON_BYTES} bytes")
    values = parse_json(bytes(content), name)
    check_no_code(values, name)
    return values


def _tokenizer(contents: Mapping[str, memoryview]) -> bytes | None:
    _config(contents, TOKENIZER_CONFIG)
    content = contents.get(TOKENIZER)
    if content is None:
        return None
    if len(content) > _MOST_TOKENIZER_BYTES:
        raise FormatError(f"{TOKENIZER} is larger than {_MOST_TOKENIZER_BYTES} bytes")
    return bytes(content)
