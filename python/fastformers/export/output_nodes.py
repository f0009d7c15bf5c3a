# SPDX-License-Identifier: MIT
"""How an output of a plan is named and shaped in a graph."""

from __future__ import annotations

import numpy as np

from fastformers.encoder_plan import TOKEN_SCORES, EncoderPlan, OutputPlan
from fastformers.export.builder import GraphBuilder

__all__ = ["write_output"]


def write_output(graph: GraphBuilder, plan: EncoderPlan, output: OutputPlan, value: str) -> None:
    """Puts a value out.

    Args:
        graph: where to.
        plan: of the encoder.
        output: the plan's entry.
        value: [batch, length, features] for rows ``"all"``, else [batch, features].
    """
    features = output.steps[-1].features if output.steps else plan.hidden
    shape: list[str | int] = ["batch", "length", features] if output.rows == "all" else ["batch", features]
    if output.name in TOKEN_SCORES:
        value = graph.node("Squeeze", [value, graph.number([-1], np.int64)], f"outputs.{output.name}")
        shape = shape[:-1]
    graph.output(output.name, value, shape)
