# SPDX-License-Identifier: MIT
"""``quantize_embeddings_``: swaps large embedding tables of a torch model for 8-bit ones, in place.

In a small or pruned model the word table is most of the file: 47 of MiniLM's 59 MB once its linear layers are INT8.
Rows are looked up one by one, so each can have a scale and a bias of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.config import Int8EmbeddingConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.added_calls import added_call
from fastformers.modules.rowwise_embedding import RowwiseEmbedding

__all__ = ["EmbeddingsReport", "TableReport", "quantize_embeddings_"]

_BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class TableReport:
    """What became of one embedding table.

    Attributes:
        name: of its module.
        rows: of the table.
        columns: of the table.
        reason: why it stays as it was; empty for one that was quantized.
        bytes_before: of its values.
        bytes_after: of its values, scales and biases.
        sqnr_db: signal to quantization noise, in dB; ``None`` where nothing was quantized, or without error.
    """

    name: str
    rows: int
    columns: int
    reason: str
    bytes_before: int
    bytes_after: int
    sqnr_db: float | None

    def __str__(self) -> str:
        """Returns one line for people."""
        head = f"{self.name} {self.rows:,} x {self.columns}"
        if self.reason:
            return f"{head}: stays float, {self.reason}"
        sizes = f"{self.bytes_before / _BYTES_PER_MB:.2f} -> {self.bytes_after / _BYTES_PER_MB:.2f} MB"
        return f"{head}: {sizes}, " + (
            "exact" if self.sqnr_db is None else f"signal to noise {self.sqnr_db:.1f} dB"
        )


@dataclass(frozen=True)
class EmbeddingsReport:
    """What ``quantize_embeddings_`` did; prints.

    Attributes:
        tables: one entry for each embedding table of the model.
    """

    tables: tuple[TableReport, ...]

    @property
    def bytes_saved(self) -> int:
        """Memory and file size that the model lost."""
        return sum(table.bytes_before - table.bytes_after for table in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {"bytes_saved": self.bytes_saved, "tables": [asdict(table) for table in self.tables]}

    def __str__(self) -> str:
        """Returns a few lines for people."""
        done = sum(not table.reason for table in self.tables)
        saved = f"{self.bytes_saved / _BYTES_PER_MB:.2f} MB saved"
        head = f"{done} of {len(self.tables)} embedding tables put into 8 bits, {saved}"
        return "\n".join([head, *(f"  {table}" for table in self.tables)])


def quantize_embeddings_(model: nn.Module, config: Int8EmbeddingConfig | None = None) -> EmbeddingsReport:
    """Replaces large ``nn.Embedding`` tables by :class:`fastformers.modules.rowwise_embedding.RowwiseEmbedding`.

    Each row becomes 8-bit values with a scale and a bias, and is looked up by fbgemm-gpu. Works before or after
    :func:`fastformers.quantize_`, in any torch model; ``ff.save_pretrained`` and ``ff.load_pretrained_torch`` know such
    models. Compiled models need no fbgemm: ``CompileConfig(int8_embeddings=True)``.

    Args:
        model: in evaluation mode. After any error it is as it was.
        config: which tables; those with 1,000 rows and more when ``None``.

    Returns:
        What was done to each table, and the bytes saved; ``print`` it.

    Raises:
        MissingExtraError: fbgemm-gpu is not installed (extra ``fbgemm``), or was built for another torch.
        ConfigError: an entry of ``exclude`` matches no table.
        UnsupportedModelError: the model has no embedding table, or is in training mode.
        NonFiniteError: a table holds NaN or infinity.

    Example:
        >>> print(ff.quantize_embeddings_(model))  # doctest: +SKIP
        1 of 3 embedding tables put into 8 bits, 34.92 MB saved
          embeddings.word_embeddings 30,522 x 384: 46.88 -> 11.96 MB, signal to noise 43.4 dB
    """
    chosen = config or Int8EmbeddingConfig()
    if model.training:
        raise UnsupportedModelError(
            "the model is in training mode, and 8-bit tables cannot be trained: call model.eval()"
        )
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | RowwiseEmbedding) and name
    }
    if not found:
        raise UnsupportedModelError("the model has no embedding table")
    _check_names(chosen, found)
    shared = _shared(model)
    made: dict[str, RowwiseEmbedding] = {}
    tables = []
    for name, module in found.items():
        reason = _reason(name, module, chosen, shared)
        if not reason:
            made[name] = RowwiseEmbedding.from_float(module.weight, name)
        tables.append(_table(name, module, reason, made.get(name)))
    for site, old in list(model.named_modules(remove_duplicate=False)):
        name = next((name for name in made if found[name] is old), None)
        if name is not None:
            model.set_submodule(site, made[name].train(False))
    return EmbeddingsReport(tuple(tables))


def _check_names(config: Int8EmbeddingConfig, found: Mapping[str, nn.Module]) -> None:
    for pattern in config.exclude:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise ConfigError(
                f"exclude holds {pattern!r}, which matches none of the tables: {', '.join(found)}"
            )


def _shared(model: nn.Module) -> frozenset[int]:
    """Parameters that several modules hold."""
    modules = {id(module): module for module in model.modules()}.values()
    counts = Counter(
        id(each) for module in modules for each in module._parameters.values() if each is not None
    )
    return frozenset(key for key, count in counts.items() if count > 1)


def _reason(
    name: str, module: nn.Embedding | RowwiseEmbedding, config: Int8EmbeddingConfig, shared: frozenset[int]
) -> str:
    """Why a table stays as it is; empty for one to quantize."""
    if isinstance(module, RowwiseEmbedding):
        return "it has 8 bits already"
    if any(fnmatchcase(name, pattern) for pattern in config.exclude):
        return "excluded"
    added = added_call(module)
    if added is not None:
        return f"it has {added}, which a swap would lose"
    if module.num_embeddings < config.min_rows:
        return f"it has fewer than {config.min_rows:,} rows (min_rows)"
    if type(module) is not nn.Embedding or module.max_norm is not None:
        return "it does more than look rows up"
    if id(module.weight) in shared:
        return "another layer shares its weights, so nothing would be saved"
    if module.weight.dtype != torch.float32 or module.weight.device.type != "cpu":
        return f"it is {module.weight.dtype} on {module.weight.device}, and must be float32 on the CPU"
    return ""


def _table(
    name: str, old: nn.Embedding | RowwiseEmbedding, reason: str, new: RowwiseEmbedding | None
) -> TableReport:
    held = old.table if isinstance(old, RowwiseEmbedding) else old.weight
    before = held.numel() * held.element_size()
    after = before if new is None else new.table.numel()
    sqnr = None if new is None else _sqnr_db(old.weight.detach(), new.weight)
    return TableReport(name, old.num_embeddings, old.embedding_dim, reason, before, after, sqnr)


def _sqnr_db(wanted: Tensor, found: Tensor) -> float | None:
    noise = float((wanted - found).square().sum(dtype=torch.float64))
    signal = float(wanted.square().sum(dtype=torch.float64))
    return 10 * math.log10(signal / noise) if noise and signal else None
