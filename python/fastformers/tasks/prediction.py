# SPDX-License-Identifier: MIT
"""Logits of a model for encoded examples: the one loop that training, distillation and every check share."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastformers.tasks.batching import Collator, length_batches
from fastformers.tasks.encoding import EncodedExamples
from fastformers.tasks.fitting import check_fits

__all__ = ["accepted_inputs", "evaluating", "predict_logits"]

_NOT_INPUTS = frozenset({"labels", "example"})
_TYPES = "token_type_ids"


def predict_logits(
    model: Any,
    encoded: EncodedExamples,
    batch_size: int,
    device: str | torch.device = "cpu",
    fixed_length: int | None = None,
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Runs a model over all examples, longest batches first, without gradients.

    Args:
        model: a torch model on ``device`` whose output has ``.logits``; its training flags are put back.
        encoded: the examples.
        batch_size: examples of a batch.
        device: where the batches go.
        fixed_length: pad every batch to this many tokens, for the paper's baseline.

    Returns:
        Float32 logits of shape [examples, outputs], in the order of the examples.

    Raises:
        ConfigError: as :func:`fastformers.tasks.fitting.check_fits`.
    """
    check_fits(model, encoded, fixed_length)
    collator = Collator(encoded.tokenizer, fixed_length)
    rows: list[Tensor | None] = [None] * len(encoded)
    with evaluating(model), torch.inference_mode():
        for batch in length_batches(encoded.lengths, batch_size):
            inputs = collator([encoded[index] for index in batch])
            moved = {name: tensor.to(device) for name, tensor in accepted_inputs(model, inputs).items()}
            logits = model(**moved).logits.float().cpu()
            for index, row in zip(batch, logits, strict=True):
                rows[index] = row
    return torch.stack([row for row in rows if row is not None]).numpy()


def accepted_inputs(model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of a batch that a model answers from; token types where it, or what it wraps, takes them.

    Args:
        model: a torch model, or a compiled encoder.
        batch: of :class:`fastformers.tasks.Collator`; labels are left out, and ``example``, which training adds.
    """
    takes_types = _TYPES in batch and _takes_types(model)
    left_out = _NOT_INPUTS if takes_types else _NOT_INPUTS | {_TYPES}
    return {name: tensor for name, tensor in batch.items() if name not in left_out}


def _takes_types(model: Any) -> bool:
    plan = getattr(model, "plan", None)  # a compiled encoder's: it has one signature for all families
    if plan is not None and plan.types == 0:
        return False
    if not isinstance(model, nn.Module):
        return _TYPES in inspect.signature(model.__call__).parameters
    parameters = inspect.signature(model.forward).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    # What takes any keyword hands it on to what it wraps (torch.compile, DataParallel), if that knows it.
    insides = model.modules() if takes_any else ()
    return _TYPES in parameters or any(_TYPES in inspect.signature(one.forward).parameters for one in insides)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Puts a module into evaluation mode, and every part of it back into the mode it was in."""
    if not isinstance(model, nn.Module):
        yield
        return
    were_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in were_training:
            module.training = True
