# SPDX-License-Identifier: MIT
"""Activations as nodes, where no operator before them computes them along."""

from __future__ import annotations

from fastformers.export.builder import CONTRIB, GraphBuilder

__all__ = ["write_activation"]

#: Activation -> operator and its domain.
_OPERATORS = {
    "relu": ("Relu", ""),
    "tanh": ("Tanh", ""),
    "gelu": ("Gelu", CONTRIB),
    "gelu_tanh": ("FastGelu", CONTRIB),
}


def write_activation(graph: GraphBuilder, x: str, activation: str, place: str) -> str:
    """Writes an activation and returns the name of its output; ``"none"`` gives ``x`` itself.

    Args:
        graph: where to.
        x: of any shape.
        activation: a name of :mod:`fastformers.encoder_plan`.
        place: where in the model it stands.
    """
    if activation == "none":
        return x
    if activation == "silu":
        return graph.node("Mul", [x, graph.node("Sigmoid", [x], place)], place)
    operator, domain = _OPERATORS[activation]
    return graph.node(operator, [x], place, domain=domain)
