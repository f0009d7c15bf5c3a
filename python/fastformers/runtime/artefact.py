# SPDX-License-Identifier: MIT
"""An artefact at work: read, checked and packed for the CPU at hand. What an engine needs, and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, FastformersError, FormatError, IsaError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact_folder import EncoderArtefact, Verify, read_artefact
from fastformers.runtime.encoder_manifest import Tokenization, check_attention
from fastformers.runtime.tokenizer_files import open_tokenizer
from fastformers.text_head import TextHead

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["LoadedEncoder", "load_artefact", "pack_artefact"]


@dataclass(frozen=True, kw_only=True)
class LoadedEncoder:
    """A packed encoder with what belongs to it.

    Attributes:
        folder: where it was loaded from.
        plan: what it computes.
        native: runs it; safe to use from many threads at once.
        config: transformers' configuration.
        tokenizer_json: content of ``tokenizer.json``, see :meth:`tokenizer`; ``None`` without one.
        tokenization: the tokenizer's settings; ``None`` without one.
        labels: names of the logits' columns; ``None`` when it is no classifier.
        attention: the setting it was packed with.
        text_head: of a span or pair classifier; ``None`` for other models.
    """

    folder: Path
    plan: EncoderPlan
    native: NativeEncoder
    config: dict[str, Any]
    tokenizer_json: bytes | None
    tokenization: Tokenization | None
    labels: tuple[str, ...] | None
    attention: str
    text_head: TextHead | None = None

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut: the tokenizer's limit, or the plan's without a tokenizer."""
        return self.plan.max_tokens if self.tokenization is None else self.tokenization.max_length

    def tokenizer(self) -> Tokenizer:
        """Returns a new tokenizer that does not pad, and cuts texts at :attr:`max_length` at the side that was saved.

        Raises:
            ConfigError: the artefact was saved without a tokenizer.
            FormatError: the tokenizers package refuses ``tokenizer.json``.
        """
        if self.tokenizer_json is None or self.tokenization is None:
            raise ConfigError(f"{self.folder} was saved without a tokenizer: save it with tokenizer=")
        return open_tokenizer(self.tokenizer_json, self.tokenization)


def load_artefact(
    path: str | Path, *, threads: int = 0, attention: str | None = None, verify: Verify = "fast"
) -> LoadedEncoder:
    """Loads an artefact of a compiled encoder.

    Args:
        path: the folder.
        threads: threads that pack the weights; 0 for the default.
        attention: ``"auto"``, ``"float32"`` or ``"int8"`` instead of the setting saved.
        verify: see :func:`fastformers.runtime.artefact_folder.read_artefact`.

    Raises:
        FormatError: the artefact is refused; says which file and why.
        ConfigError: an argument is refused.

    Example:
        >>> encoder = load_artefact("my-encoder")
        >>> encoder.native.isa
        'avx512vnni'
    """
    artefact = read_artefact(path, verify=verify)
    manifest = artefact.manifest
    chosen = manifest.attention if attention is None else attention
    return LoadedEncoder(
        folder=Path(path),
        plan=manifest.plan,
        native=pack_artefact(artefact, threads=threads, attention=chosen),
        config=artefact.config,
        tokenizer_json=artefact.tokenizer_json,
        tokenization=manifest.tokenization,
        labels=manifest.labels,
        attention=chosen,
        text_head=artefact.text_head,
    )


def pack_artefact(
    artefact: EncoderArtefact, *, threads: int = 0, attention: str | None = None
) -> NativeEncoder:
    """Packs an artefact's tensors for the instruction set in use.

    Raises:
        FormatError: the executor refuses the plan or a tensor.
        ConfigError: an argument is refused.
        IsaError: the instruction set in use is not one of this CPU.
    """
    chosen = artefact.manifest.attention if attention is None else attention
    check_attention(chosen)
    if threads < 0:
        raise ConfigError(f"threads is {threads}; allowed: 1 or more, or 0 for the default")
    try:
        return NativeEncoder(artefact.plan.to_dict(), dict(artefact.tensors), threads, chosen)
    except IsaError:
        raise
    except FastformersError as error:
        raise FormatError(f"the encoder cannot be built from its artefact: {error}") from error
