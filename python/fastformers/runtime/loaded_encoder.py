# SPDX-License-Identifier: MIT
"""An artefact at work: read, checked and packed for the CPU at hand. What an engine needs, and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, FastformersError, FormatError, IsaError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact import EncoderArtefact, Verify, read_encoder
from fastformers.runtime.encoder_manifest import ATTENTIONS, Tokenization

__all__ = ["LoadedEncoder", "load_encoder", "pack_encoder"]


@dataclass(frozen=True, kw_only=True)
class LoadedEncoder:
    """A packed encoder with what belongs to it.

    Attributes:
        folder: where it was loaded from.
        plan: what it computes.
        native: runs it; safe to use from many threads at once.
        config: transformers' configuration.
        tokenizer_json: content of ``tokenizer.json``, for ``tokenizers.Tokenizer.from_buffer``; ``None`` without one.
        tokenization: the tokenizer's settings; ``None`` without one.
        labels: names of the logits' columns; ``None`` when it is no classifier.
        attention: the setting it was packed with.
    """

    folder: Path
    plan: EncoderPlan
    native: NativeEncoder
    config: dict[str, Any]
    tokenizer_json: bytes | None
    tokenization: Tokenization | None
    labels: tuple[str, ...] | None
    attention: str


def load_encoder(
    path: str | Path, *, threads: int = 0, attention: str | None = None, verify: Verify = "fast"
) -> LoadedEncoder:
    """Loads an artefact of a compiled encoder.

    Args:
        path: the folder.
        threads: threads that pack the weights; 0 for the default.
        attention: ``"auto"``, ``"float32"`` or ``"int8"`` instead of the setting saved.
        verify: see :func:`fastformers.runtime.artefact.read_encoder`.

    Raises:
        FormatError: the artefact is refused; says which file and why.
        ConfigError: an argument is refused.

    Example:
        >>> encoder = load_encoder("my-encoder")
        >>> encoder.native.isa
        'avx512vnni'
    """
    artefact = read_encoder(path, verify=verify)
    manifest = artefact.manifest
    chosen = manifest.attention if attention is None else attention
    return LoadedEncoder(
        folder=Path(path),
        plan=manifest.plan,
        native=pack_encoder(artefact, threads=threads, attention=chosen),
        config=artefact.config,
        tokenizer_json=artefact.tokenizer_json,
        tokenization=manifest.tokenization,
        labels=manifest.labels,
        attention=chosen,
    )


def pack_encoder(
    artefact: EncoderArtefact, *, threads: int = 0, attention: str | None = None
) -> NativeEncoder:
    """Packs an artefact's tensors for the instruction set in use.

    Raises:
        FormatError: the executor refuses the plan or a tensor.
        ConfigError: an argument is refused.
        IsaError: the instruction set in use is not one of this CPU.
    """
    chosen = artefact.manifest.attention if attention is None else attention
    if chosen not in ATTENTIONS:
        raise ConfigError(f"attention is {chosen!r}; allowed: {', '.join(map(repr, ATTENTIONS))}")
    if threads < 0:
        raise ConfigError(f"threads is {threads}; allowed: 1 or more, or 0 for the default")
    try:
        return NativeEncoder(artefact.plan.to_dict(), dict(artefact.tensors), threads, chosen)
    except IsaError:
        raise
    except FastformersError as error:
        raise FormatError(f"the encoder cannot be built from its artefact: {error}") from error
