# SPDX-License-Identifier: MIT
"""torch as a user runs it: the transformers module, eager, sdpa attention, float32 or dynamically quantized.

Dynamic quantization keeps torch's default of one weight scale per matrix: its per-channel variant is slower here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import ModelSource, answer_of

__all__ = ["caller_of", "load", "padding_of"]

FLOAT32 = "float32"


def load(source: ModelSource, threads: int, precision: str) -> Callable[[Batch], Callable[[], object]]:
    """Loads the model.

    Args:
        source: the model.
        threads: torch's threads.
        precision: ``"float32"``, or the engine of dynamic quantization: ``"x86"``, ``"onednn"``.

    Returns:
        Batch -> call.

    Raises:
        RuntimeError: this torch was built without the engine.
    """
    torch.set_num_threads(threads)
    model: nn.Module = source.torch_model()
    padding_id = padding_of(model)
    if precision != FLOAT32:
        model = _quantized(model, precision)
    return caller_of(model, padding_id)


def padding_of(model: nn.Module) -> int:
    """Returns the id that fills the rectangle of a ragged batch."""
    return int(getattr(model.config, "pad_token_id", None) or 0)


def caller_of(model: Callable[..., Any], padding_id: int) -> Callable[[Batch], Callable[[], object]]:
    """Returns a function that binds a batch: torch tensors in, numpy out."""

    def bind(batch: Batch) -> Callable[[], object]:
        ids, mask = (torch.from_numpy(array) for array in batch.padded(padding_id))
        return lambda: answer_of(model(input_ids=ids, attention_mask=mask)).numpy()

    return bind


def _quantized(model: nn.Module, engine: str) -> nn.Module:
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        quantized: nn.Module = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    return quantized
