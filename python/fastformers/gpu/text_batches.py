# SPDX-License-Identifier: MIT
"""Texts as padded batches of tensors: which texts go together, how long a batch is, and what a model reads of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastformers.config import TorchConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.gpu.mpnet_attention import FusedMPNetAttention
from fastformers.modules.encoder_names import MODERNBERT, MPNET, EncoderParts, parts_of
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.tokenization import Text, TextEncoder, TokenizedText

__all__ = ["Batch", "TextBatches", "batches_of", "most_tokens", "takes_attended_keys"]


#: A batch of similar lengths also ends where texts are shorter than this share of its longest ...
_SIMILAR = 0.8
#: ... as soon as it has this share of its texts, for a GPU wants to be filled. Together: 9 instead of 17 % of padding
#: for 17 instead of 13 batches of BoolQ's 3,270 validation texts.
_FILLED = 1 / 8


@dataclass(frozen=True)
class Batch:
    """Texts that are computed together.

    Attributes:
        texts: their places in what was given.
        length: tokens that each is padded to.
    """

    texts: tuple[int, ...]
    length: int


def batches_of(lengths: Sequence[int], config: TorchConfig, longest: int) -> list[Batch]:
    """Cuts texts into batches.

    Args:
        lengths: tokens of each text, 1 to ``longest``.
        config: size of a batch and how it is padded.
        longest: tokens that the model takes; no batch is longer.

    Returns:
        Batches in which each text occurs once; the longest first where similar lengths go together.

    Example:
        >>> batches_of([3, 20, 18], TorchConfig(batch_size=2), longest=64)
        [Batch(texts=(1, 2), length=24), Batch(texts=(0,), length=8)]
    """
    places = range(len(lengths))
    groups: list[Sequence[int]]
    if config.padding == "buckets":
        groups = list(_similar(lengths, config))
    else:
        groups = [
            places[start : start + config.batch_size] for start in range(0, len(lengths), config.batch_size)
        ]

    def length_of(group: Sequence[int]) -> int:
        if config.padding == "fixed":
            return longest
        most = max(lengths[place] for place in group)
        return min(longest, -(-most // config.length_step) * config.length_step)

    return [Batch(tuple(group), length_of(group)) for group in groups]


def _similar(lengths: Sequence[int], config: TorchConfig) -> Iterator[list[int]]:
    """Cuts texts into batches, longest first; those that are recorded all have one size."""
    size = config.batch_size
    least = size if config.cuda_graphs else max(1, round(_FILLED * size))
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        much_shorter = bool(batch) and lengths[place] < _SIMILAR * lengths[batch[0]]
        if len(batch) == size or (much_shorter and len(batch) >= least):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def most_tokens(parts: EncoderParts, tokenizer: Any) -> int:
    """Tokens that a tokenizer and an encoder both take.

    Args:
        parts: the encoder.
        tokenizer: of transformers.
    """
    positions = parts.positions or int(parts.encoder.config.max_position_embeddings)
    return min(int(tokenizer.model_max_length), positions)


class TextBatches:
    """Tokenizes texts for one model and pads them.

    Args:
        model: of a family known, or one of our heads over one.
        tokenizer: the model's, a fast one of transformers.
        max_length: tokens after which a text is cut; ``None``: what both take.

    Attributes:
        max_length: as decided.

    Raises:
        UnsupportedModelError: the family is not known, or the tokenizer has no fast version.
        ConfigError: the tokenizer has no padding token, or the model takes fewer tokens.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int | None = None) -> None:
        self._parts = parts_of(model)
        core = getattr(tokenizer, "backend_tokenizer", None)
        if core is None:
            raise UnsupportedModelError(
                f"{type(tokenizer).__name__} is not a fast tokenizer: use use_fast=True"
            )
        if tokenizer.pad_token_id is None:
            raise ConfigError(
                f"{type(tokenizer).__name__} has no padding token: set tokenizer.pad_token first"
            )
        most = most_tokens(self._parts, tokenizer)
        if max_length is not None and max_length > most:
            raise ConfigError(f"max_length is {max_length}, and the model takes {most} tokens")
        self.max_length = max_length or most
        spans = int(model.config.num_spans) if isinstance(model, SpanClassifier) else 0
        self._encoder = TextEncoder(
            core,
            self.max_length,
            spans,
            tokenizer.truncation_side,
            only_pairs=isinstance(model, PairClassifier),
        )
        self._padding = {
            "input_ids": int(tokenizer.pad_token_id),
            "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0)),
        }
        self._reads_types = (
            "token_type_ids" in tokenizer.model_input_names
            and "token_type_ids" in inspect.signature(model.forward).parameters
            and _token_types(self._parts) > 1
        )

    def encode(self, texts: Sequence[Text]) -> list[TokenizedText]:
        """Tokenizes texts; errors as :meth:`fastformers.tokenization.TextEncoder.encode`."""
        return self._encoder.encode(texts)

    def tensors(self, texts: Sequence[TokenizedText], length: int, device: torch.device) -> dict[str, Tensor]:
        """Pads texts on the right.

        Args:
            texts: at least one, none longer than ``length``.
            length: tokens.
            device: where the tensors go.

        Returns:
            The model's arguments: int64 ``input_ids`` and ``attention_mask`` [texts, length]; ``token_type_ids`` and
            ``spans`` where the model reads them.
        """
        lengths = np.array([len(text) for text in texts])
        mask = np.arange(length) < lengths[:, None]
        arrays: dict[str, Any] = {
            "input_ids": self._filled("input_ids", texts, mask, "ids"),
            "attention_mask": mask.astype(np.int64),
        }
        if self._reads_types:
            arrays["token_type_ids"] = self._filled("token_type_ids", texts, mask, "types")
        if texts[0].spans is not None:
            arrays["spans"] = np.stack([text.spans for text in texts if text.spans is not None])
        return {name: _sent(array, device) for name, array in arrays.items()}

    def _filled(
        self, name: str, texts: Sequence[TokenizedText], mask: np.ndarray[Any, Any], part: str
    ) -> Any:
        filled = np.full(mask.shape, self._padding[name], np.int64)
        filled[mask] = np.concatenate([getattr(text, part) for text in texts])
        return filled


def _sent(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """A copy on the device. From pinned memory, for from other memory it waits until what the GPU was given is done."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _token_types(parts: EncoderParts) -> int:
    path = parts.names.embeddings.type
    table = None if path is None else parts.encoder.get_submodule(path)
    return table.num_embeddings if isinstance(table, nn.Embedding) else 0


def takes_attended_keys(model: nn.Module) -> bool:
    """Whether attention takes a boolean mask [texts, 1, 1, tokens] as it is, True for what is attended to.

    transformers then neither waits for the GPU to see whether anything is masked, nor computes differently when nothing
    is. ModernBERT makes a second mask, of a window, out of the one it is given, and needs it in two dimensions.

    Args:
        model: of a family known.
    """
    parts = parts_of(model)
    if parts.names is MODERNBERT:
        return False
    if parts.names is MPNET:
        attention = parts.layers[0].get_submodule(parts.names.block.attention)
        return isinstance(attention, FusedMPNetAttention)
    return getattr(parts.encoder.config, "_attn_implementation", None) == "sdpa"
