# SPDX-License-Identifier: MIT
"""What an engine's answers are read from: an output of the plan, or a head over the rows of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastformers.encoder_plan import EncoderPlan, OutputPlan
from fastformers.text_head import TextHead, logits_of

if TYPE_CHECKING:
    from fastformers.tokenization import RaggedBatch

__all__ = ["Readout", "readouts"]


@dataclass(frozen=True)
class Readout:
    """One thing a model puts out.

    Attributes:
        output: the plan's output that instances compute.
        columns: width of a row.
        per_token: a row for each token, not for each text.
        head: turns rows of tokens into one row for each text; ``None`` for outputs of the plan itself.
    """

    output: str
    columns: int
    per_token: bool
    head: TextHead | None = None

    def rows(self, array: NDArray[Any], batch: RaggedBatch) -> NDArray[Any]:
        """Returns the rows of a batch, float32 [texts or tokens, columns].

        Args:
            array: what the plan's output is for the batch.
            batch: with spans where the head reads them.
        """
        if self.head is None:
            return array
        return logits_of(self.head, array, batch.offsets, batch.ids, batch.spans)


def readouts(plan: EncoderPlan, head: TextHead | None) -> Mapping[str, Readout]:
    """Returns what a model puts out, by name: the plan's outputs, or the ``"logits"`` of a head over the first."""
    if head is not None:
        return {"logits": Readout(plan.outputs[0].name, head.labels, per_token=False, head=head)}
    return {output.name: _of(output, plan) for output in plan.outputs}


def _of(output: OutputPlan, plan: EncoderPlan) -> Readout:
    columns = output.steps[-1].features if output.steps else plan.hidden
    return Readout(output.name, columns, per_token=output.rows == "all")
