# SPDX-License-Identifier: MIT
"""An ONNX graph of one node: the whole encoder as our own operator (``csrc/ort/encoder_kernel.h``).

The node holds the plan as text and the tensors as initializers, so the file is as self-contained as any other export.
It runs where the operators' library is registered, with the same bits as ``fastformers.Engine``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastformers.encoder_plan import EncoderPlan
from fastformers.export.builder import DOMAIN, GraphBuilder
from fastformers.export.output_nodes import write_output
from fastformers.export.text_head_nodes import write_text_head
from fastformers.text_head import TextHead

__all__ = ["native_encoder_model", "plan_text"]

_FORM = 1


def plan_text(plan: EncoderPlan) -> str:
    """Writes a plan as the node's attribute; ``csrc/ort/plan_text.h`` gives the form.

    Args:
        plan: any plan.

    Example:
        >>> plan_text(plan).split()[:3]  # doctest: +SKIP
        ['plan', '1', '384']
    """
    words: list[object] = ["plan", _FORM, plan.hidden, plan.embedding, plan.vocab, plan.types, plan.positions]
    words += [plan.position_offset, plan.max_tokens, int(plan.pre_norm), repr(plan.norm_epsilon)]
    words += [plan.activation, int(plan.gated), len(plan.layers)]
    for layer in plan.layers:
        words += [layer.heads, layer.head_size, layer.intermediate, layer.window, repr(layer.rope_base)]
    words.append(len(plan.outputs))
    for output in plan.outputs:
        words += [output.name, output.rows, int(output.normalize), len(output.steps)]
        for step in output.steps:
            words += [int(step.linear), step.activation, int(step.norm), step.features]
    return " ".join(map(str, words))


def native_encoder_model(
    plan: EncoderPlan,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    outputs: Sequence[str] | None = None,
    *,
    attention: str = "auto",
    text_head: TextHead | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Makes the graph.

    Args:
        plan: of the encoder.
        tensors: those that the plan names, float32 or int8.
        outputs: names of the plan's outputs to put out; ``None`` for all.
        attention: ``"auto"``, ``"float32"`` or ``"int8"`` products.
        text_head: as for :func:`fastformers.export.encoder_graph.write_encoder`; stands behind the node, in float32.
        metadata: kept in the file.

    Returns:
        An ``onnx.ModelProto`` with int64 inputs [batch, length] ``input_ids`` and ``attention_mask``, and
        ``token_type_ids`` where the encoder has token types.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    graph = GraphBuilder()
    wanted = [output for output in plan.outputs if outputs is None or output.name in outputs]
    names = ("input_ids", "attention_mask", *(("token_type_ids",) if plan.types else ()))
    inputs = [graph.input(name, np.int64, ("batch", "length")) for name in names]
    inputs += [] if plan.types else [""]
    first = graph.node(
        "Encoder",
        [*inputs, *(graph.constant(name, value) for name, value in tensors.items())],
        "encoder",
        domain=DOMAIN,
        outputs=len(wanted),
        plan=plan_text(plan),
        tensor_names=" ".join(tensors),
        output_names=" ".join(output.name for output in wanted),
        products=attention,
    )
    if text_head is not None:
        write_text_head(graph, first, "input_ids", "attention_mask", text_head)
    else:
        for number, output in enumerate(wanted):
            write_output(graph, plan, output, first if number == 0 else graph.further(first, number))
    return graph.model(dict(metadata or {}), (DOMAIN,))
