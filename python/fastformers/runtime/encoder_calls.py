# SPDX-License-Identifier: MIT
"""What an engine or a compiled encoder asks its packed encoder, for those who look at single calls from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastformers.encoder_plan import EncoderPlan
from fastformers.tokenization import RaggedBatch, Text

if TYPE_CHECKING:
    from fastformers.kernels import NativeEncoder

__all__ = ["EncoderCalls"]


@dataclass(frozen=True)
class EncoderCalls:
    """The calls behind answers.

    Attributes:
        native: runs them.
        plan: what it computes.
        outputs: of the plan, that answers are read from.
        threads: of a call; 0 for the default.
        encode: texts to tokens.
        token_types: tell the model which text of a pair a token belongs to.
    """

    native: NativeEncoder
    plan: EncoderPlan
    outputs: tuple[str, ...]
    threads: int
    encode: Callable[[Sequence[Text]], RaggedBatch]
    token_types: bool

    def forward(self, batch: RaggedBatch) -> list[NDArray[np.float32]]:
        """Computes the outputs of a batch on the caller's thread."""
        return self.native.forward(
            batch.ids, self._types(batch), batch.offsets, list(self.outputs), self.threads
        )

    def profile(self, batch: RaggedBatch) -> dict[str, Any]:
        """Does the same, and returns where the time went; see ``profile`` of the compiled core's ``Encoder``."""
        return self.native.profile(
            batch.ids, self._types(batch), batch.offsets, list(self.outputs), self.threads
        )

    def _types(self, batch: RaggedBatch) -> NDArray[np.int32] | None:
        return batch.types if self.token_types else None
