# SPDX-License-Identifier: MIT
"""ONNX Runtime: float32 with the transformer fusions, and dynamic INT8 (s8 weights, one scale per channel).

INT8 has two forms. ``int8_fused`` quantizes the fused graph (QAttention); ``int8_plain`` quantizes the exported one and
leaves all fusing to the session. Which is faster depends on the CPU and the length, so both are measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import ModelSource, kept
from fastformers.benchmarking.engines.onnx_export import MODEL_FILE, attention_size, exported, feed

__all__ = ["load"]

_FLOAT_TENSOR = 1  # TensorProto.FLOAT: what the quantizer assumes of tensors whose type a fused node hides


def load(source: ModelSource, threads: int, graph: str) -> Callable[[Batch], Callable[[], object]]:
    """Opens a session.

    Args:
        source: the model.
        threads: threads inside an operator.
        graph: ``"float32"``, ``"int8_plain"`` or ``"int8_fused"``.

    Returns:
        Batch -> call, numpy in and numpy out.
    """
    import onnxruntime

    logging.getLogger().setLevel(logging.ERROR)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    path = _graph_file(source, graph)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def bind(batch: Batch) -> Callable[[], object]:
        inputs = feed(names, batch, 0)
        return lambda: session.run(None, inputs)[0]

    return bind


def _graph_file(source: ModelSource, graph: str) -> Path:
    """Returns the ONNX file of a form of the graph, made on the first call."""
    makers: dict[str, Callable[[Path], None]] = {
        "float32": lambda folder: _fuse(source, folder),
        "int8_plain": lambda folder: _quantize(exported(source), folder, fused=False),
        "int8_fused": lambda folder: _quantize(_graph_file(source, "float32"), folder, fused=True),
    }
    return kept(source.workspace / f"onnxruntime-{graph}", makers[graph]) / MODEL_FILE


def _fuse(source: ModelSource, folder: Path) -> None:
    """Applies the fusions for BERT; a graph they do not know passes through unchanged."""
    from onnxruntime.transformers.optimizer import optimize_model

    path = exported(source)
    heads, width = attention_size(path)
    optimized = optimize_model(str(path), model_type="bert", num_heads=heads, hidden_size=width, opt_level=0)
    optimized.save_model_to_file(str(folder / MODEL_FILE))


def _quantize(path: Path, folder: Path, *, fused: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path,
        folder / MODEL_FILE,
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": _FLOAT_TENSOR} if fused else {},
    )
