# SPDX-License-Identifier: MIT
"""A quantized copy of a model that costs only the INT8 weights: all other tensors are the model's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import nn

from fastformers.config import Int8Config
from fastformers.quantization.progress import ProgressCallback
from fastformers.quantization.quantize import convert_model
from fastformers.quantization.report import QuantizationReport

__all__ = ["quantized_twin"]

_Model = TypeVar("_Model", bound=nn.Module)


def quantized_twin(
    model: _Model,
    config: Int8Config,
    *,
    tokenizer: Callable[..., Any] | None = None,
    texts: Iterable[Any] | None = None,
    progress: ProgressCallback | bool | None = None,
) -> tuple[_Model, QuantizationReport]:
    """Quantizes a copy of a model; the model itself is not changed, whatever happens.

    Args:
        model: as for :func:`fastformers.quantize_`.
        config: what is wanted.
        tokenizer: the model's tokenizer.
        texts: what to calibrate on.
        progress: who is told.

    Returns:
        (copy whose modules are its own, whose parameters are the model's own except in the layers that became INT8;
        report).

    Raises:
        FastformersError: as :func:`fastformers.quantize_`.
    """
    tensors = (*model.parameters(), *model.buffers())
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    return twin, convert_model(twin, config, tokenizer, texts, progress, hold_floats=True)
