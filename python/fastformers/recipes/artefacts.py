# SPDX-License-Identifier: MIT
"""``save_pretrained`` and ``load``: one name for saving whatever fastformers makes, and compiled encoders back.

A compiled encoder becomes an artefact of ``fastformers.runtime``, which needs no torch to be read; any torch model one
of ``fastformers.quantization``, which :func:`fastformers.load_pretrained_torch` reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fastformers.errors import ConfigError, FastformersError, FormatError, IsaError, MissingExtraError
from fastformers.files.extra_files import ExtraFiles
from fastformers.quantization.artefact import save_pretrained as save_torch_model
from fastformers.quantization.report import QuantizationReport
from fastformers.rewriting import Encoder
from fastformers.runtime.artefact_folder import Verify, read_artefact, save_artefact
from fastformers.runtime.encoder_manifest import check_attention

__all__ = ["load", "save_pretrained"]

_MOST_THREADS = 1024
_SOURCE_FACTS = ("model_type", "transformers_version")


def save_pretrained(
    model: nn.Module,
    path: str | Path,
    tokenizer: Any = None,
    *,
    extra: ExtraFiles | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a compiled encoder, or any torch model, quantized or not, as a folder.

    The folder appears in one step when all is written; an interrupted save leaves what was there before. Use this and
    not ``model.save_pretrained`` of transformers, which knows nothing of INT8 layers and could not load them again.

    Args:
        model: from :func:`fastformers.compile`, to be loaded by :func:`fastformers.load` or served by
            ``fastformers.Engine``; or a torch model, for :func:`fastformers.load_pretrained_torch`.
        path: folder to make; its parent must exist.
        tokenizer: saved beside the model; an engine needs it.
        extra: further JSON files by name, e.g. ``{"task.json": {...}}``.
        overwrite: replace a model saved there before.

    Raises:
        ConfigError: something is there and ``overwrite`` is False, or it is not a saved model; an extra file's name or
            content is refused.
        UnsupportedModelError: the model or the tokenizer could not be loaded again; says why.

    Example:
        >>> ff.save_pretrained(ff.compile(model, tokenizer=tokenizer), "my-bert-fast", tokenizer)
        >>> fast = ff.load("my-bert-fast")
    """
    if not isinstance(model, Encoder):
        save_torch_model(model, path, tokenizer, extra=extra, overwrite=overwrite)
        return
    facts = {name: str(model.config[name]) for name in _SOURCE_FACTS if model.config.get(name)}
    save_artefact(
        path,
        model.plan,
        model.tensors,
        config=model.config,
        attention=model.attention,
        tokenizer=tokenizer,
        report=None if model.report is None else model.report.to_dict(),
        result=model.result,
        notes=model.notes,
        source=facts,
        text_head=model.text_head,
        extra=extra,
        overwrite=overwrite,
    )


def load(
    path: str | Path, *, threads: int | None = None, attention: str | None = None, verify: Verify = "fast"
) -> Encoder:
    """Loads a compiled encoder, packed for this CPU.

    Args:
        path: folder that :func:`save_pretrained` made of a compiled encoder.
        threads: of a call; ``None`` for :func:`fastformers.kernels.num_threads`.
        attention: ``"auto"``, ``"float32"`` or ``"int8"`` instead of the setting saved.
        verify: ``"fast"`` finds damage, ``"full"`` (SHA-256) deliberate change too.

    Returns:
        The encoder, called like the model it was made of. Its ``tensors`` are views of the mapped file.

    Raises:
        FormatError: a file is missing, damaged, of a newer format, or does not fit; says which and why.
        ConfigError: an argument is refused.
        MissingExtraError: transformers is not installed. ``fastformers.Engine`` does without.
    """
    if attention is not None:
        check_attention(attention)
    if threads is not None and (type(threads) is not int or not 1 <= threads <= _MOST_THREADS):
        raise ConfigError(
            f"threads is {threads!r}; allowed: None or a whole number from 1 to {_MOST_THREADS}"
        )
    artefact = read_artefact(path, verify=verify)
    manifest = artefact.manifest
    if manifest.result is None:
        raise FormatError(f"{path} does not name its class of outputs: serve it with fastformers.Engine")
    report = None if artefact.report is None else QuantizationReport.from_dict(artefact.report)
    try:
        return Encoder(
            artefact.plan,
            artefact.tensors,
            config=artefact.config,
            result=manifest.result,
            threads=threads,
            attention=manifest.attention if attention is None else attention,
            notes=manifest.notes,
            report=report,
            text_head=artefact.text_head,
        )
    except (IsaError, MissingExtraError):
        raise
    except FastformersError as error:
        raise FormatError(f"the encoder cannot be built from {path}: {error}") from error
