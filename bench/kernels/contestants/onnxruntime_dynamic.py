# SPDX-License-Identifier: MIT
"""ONNX Runtime dynamic quantization: the layer as ``quantize_dynamic`` writes it, per channel, s8 weights.

At load, ONNX Runtime fuses DynamicQuantizeLinear, MatMulInteger and the scaling into one
DynamicQuantizeMatMul with bias, followed by Relu; ``prepare`` refuses to go on when it does not, because then
another contestant would be measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from bench.kernels.cases import Case, Floats, Shape, weights

OPSET = 17
IR_VERSION = 8


def float_model(weight: Floats, bias: Floats) -> onnx.ModelProto:
    """Writes relu(x @ weight.T + bias) as exporters do: MatMul, Add, Relu."""
    columns, depth = weight.shape
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="matmul"),
        helper.make_node("Add", ["product", "bias"], ["sum"], name="add"),
        helper.make_node("Relu", ["sum"], ["y"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", depth])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", columns])],
        [
            numpy_helper.from_array(np.ascontiguousarray(weight.T), "weight"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


@lru_cache(maxsize=1)
def quantized_session(shape: Shape, threads: int) -> onnxruntime.InferenceSession:
    """Quantizes the layer of a shape and loads it with every graph optimisation.

    Raises:
        RuntimeError: the loaded graph is not DynamicQuantizeMatMul + Relu.
    """
    logging.getLogger().setLevel(logging.ERROR)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        quantized, optimized = Path(folder) / "quantized.onnx", Path(folder) / "optimized.onnx"
        quantize_dynamic(
            float_model(*weights(shape)), quantized, per_channel=True, weight_type=QuantType.QInt8
        )
        options.optimized_model_filepath = str(optimized)
        session = onnxruntime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
        loaded = [node.op_type for node in onnx.load(optimized).graph.node]
    if loaded != ["DynamicQuantizeMatMul", "Relu"]:
        raise RuntimeError(
            f"onnxruntime {onnxruntime.__version__} did not fuse the layer: it runs {', '.join(loaded)}"
        )
    return session


def prepare(case: Case, threads: int) -> Callable[[], object]:
    """Returns one call of the session, numpy in and numpy out."""
    session = quantized_session(case.shape, threads)
    feed = {"x": case.x}
    return lambda: session.run(None, feed)[0]
