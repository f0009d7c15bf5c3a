# SPDX-License-Identifier: MIT
"""An ONNX graph of one node: the whole encoder as our own operator for ONNX Runtime (``csrc/ort/encoder_kernel.h``).

The node holds the plan as text and the tensors as initializers, so the file is as self-contained as any other export.
It runs where the operators' library is registered, with the same bits as ``fastformers.Engine``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastformers._optional import require
from fastformers.encoder_plan import EncoderPlan, OutputPlan

__all__ = ["DOMAIN", "DOMAIN_VERSION", "native_encoder_model", "plan_text"]

#: Domain of the operators in ``csrc/ort``.
DOMAIN = "fastformers"
DOMAIN_VERSION = 1
_FORM = 1
_OPSET = 17
_IR_VERSION = 8


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
) -> Any:
    """Makes the graph.

    Args:
        plan: of the encoder.
        tensors: those that the plan names, float32 or int8.
        outputs: names of the plan's outputs to put out; ``None`` for all.
        attention: ``"auto"``, ``"float32"`` or ``"int8"`` products.

    Returns:
        An ``onnx.ModelProto`` with int64 inputs [batch, length] ``input_ids`` and ``attention_mask``, and
        ``token_type_ids`` where the encoder has token types.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", "onnx", "exporting to ONNX")
    helper, kinds = onnx.helper, onnx.TensorProto
    wanted = [output for output in plan.outputs if outputs is None or output.name in outputs]
    has_types = plan.types > 0
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if has_types else [])]
    node = helper.make_node(
        "Encoder",
        ["input_ids", "attention_mask", "token_type_ids" if has_types else "", *tensors],
        [output.name for output in wanted],
        domain=DOMAIN,
        plan=plan_text(plan),
        tensor_names=" ".join(tensors),
        output_names=" ".join(output.name for output in wanted),
        products=attention,
    )
    graph = helper.make_graph(
        [node],
        "encoder",
        [helper.make_tensor_value_info(name, kinds.INT64, ["batch", "length"]) for name in names],
        [helper.make_tensor_value_info(output.name, kinds.FLOAT, _shape(plan, output)) for output in wanted],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fastformers")


def _shape(plan: EncoderPlan, output: OutputPlan) -> list[str | int]:
    """Symbolic and fixed sizes of an output."""
    features = output.steps[-1].features if output.steps else plan.hidden
    return ["batch", "length", features] if output.rows == "all" else ["batch", features]
