# SPDX-License-Identifier: MIT
"""fastformers: the compiled encoder, one native call from token ids to answers.

``ragged`` is the call that the serving engine makes: tokens back to back, numpy in and out. ``module`` is the compiled
encoder behind the signature of the transformers model: torch tensors and a mask, padding taken out in the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastformers as ff
from fastformers import kernels
from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import ModelSource
from fastformers.benchmarking.engines.torch_eager import caller_of

__all__ = ["answers_of", "encoder_of", "load"]


def load(source: ModelSource, threads: int, interface: str) -> Callable[[Batch], Callable[[], object]]:
    """Compiles the model with default settings, or loads the artefact.

    Args:
        source: the model; calibrated on bundled texts when it has a tokenizer.
        threads: threads of a call.
        interface: ``"ragged"`` or ``"module"``.

    Returns:
        Batch -> call.
    """
    kernels.set_num_threads(threads)
    encoder = encoder_of(source)
    if interface == "module":
        return caller_of(encoder, padding_id=0)
    native = kernels.NativeEncoder(
        encoder.plan.to_dict(), encoder.tensors, threads=threads, attention=encoder.attention
    )
    outputs = answers_of([output.name for output in encoder.plan.outputs])

    def bind(batch: Batch) -> Callable[[], object]:
        ids, offsets = batch.ragged()
        if len(outputs) == 1:
            return lambda: native.forward(ids, None, offsets, outputs, threads)[0]
        return lambda: np.concatenate(native.forward(ids, None, offsets, outputs, threads), axis=-1)

    return bind


def encoder_of(source: ModelSource) -> Any:
    """Loads the artefact, or compiles the model with default settings."""
    if source.artefact is not None:
        return ff.load(source.artefact)
    return ff.compile(source.torch_model(), tokenizer=source.tokenizer())


def answers_of(names: list[str]) -> list[str]:
    """Chooses what the other engines answer, see :func:`model_source.answer_of`."""
    for wanted in (["start_logits", "end_logits"], ["logits"], ["last_hidden_state"]):
        if set(wanted) <= set(names):
            return wanted
    return names[:1]
