# SPDX-License-Identifier: MIT
"""The calls of what can be profiled: engines, and compiled encoders with their tokenizer. Nothing else has any."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastformers.benchmarking.subjects import most_tokens
from fastformers.errors import ConfigError
from fastformers.runtime.encoder_calls import EncoderCalls
from fastformers.runtime.engine import Engine
from fastformers.tokenization import RaggedBatch, TokenizedText

if TYPE_CHECKING:
    from fastformers.rewriting.encoder import Encoder

__all__ = ["profiled_calls"]


def profiled_calls(run: Any, tokenizer: Any | None) -> EncoderCalls:
    """Returns the calls behind an engine's or a compiled encoder's answers.

    Args:
        run: what is measured.
        tokenizer: of transformers, for a compiled encoder.

    Raises:
        ConfigError: anything else, whose inside cannot be seen; or an encoder without a tokenizer.

    Example:
        >>> profiled_calls(engine, None).outputs
        ('logits',)
    """
    if isinstance(run, Engine):
        return run.calls()
    rewriting = sys.modules.get("fastformers.rewriting.encoder")  # without it nobody has made an encoder
    if rewriting is None or not isinstance(run, rewriting.Encoder):
        raise ConfigError(
            f"profile looks inside the engine, and run is a {type(run).__name__}: pass an ff.Engine, what ff.compile "
            "returned with tokenizer=, or the folder of a compiled model; or leave profile out"
        )
    if tokenizer is None:
        raise ConfigError("run is a compiled encoder, which does not take texts: pass tokenizer= too")
    return _encoder_calls(run, tokenizer)


def _encoder_calls(encoder: Encoder, tokenizer: Any) -> EncoderCalls:
    length = most_tokens(encoder, tokenizer)

    def encode(texts: Sequence[Any]) -> RaggedBatch:
        encoded = tokenizer(list(texts), truncation=True, max_length=length, return_token_type_ids=True)
        return RaggedBatch.of(
            [
                TokenizedText(np.array(ids, np.int32), np.array(types, np.int32))
                for ids, types in zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
            ]
        )

    return EncoderCalls(
        native=encoder.native,
        plan=encoder.plan,
        outputs=tuple(output.name for output in encoder.plan.outputs),
        threads=encoder.threads or 0,
        encode=encode,
        token_types=encoder.plan.types > 1 and "token_type_ids" in tokenizer.model_input_names,
    )
