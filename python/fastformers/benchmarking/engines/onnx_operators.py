# SPDX-License-Identifier: MIT
"""ONNX Runtime with our operators: the whole encoder as one node, called as any other ONNX graph."""

from __future__ import annotations

import os
from collections.abc import Callable

import fastformers as ff
from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.compiled_encoder import answers_of, encoder_of
from fastformers.benchmarking.engines.model_source import ModelSource
from fastformers.benchmarking.engines.onnx_export import feed
from fastformers.export.native_encoder import native_encoder_model

__all__ = ["load"]


def load(source: ModelSource, threads: int) -> Callable[[Batch], Callable[[], object]]:
    """Compiles the model with default settings and opens a session on its one-node graph.

    Args:
        source: the model, or an artefact.
        threads: threads of a call; the operator has its own, ONNX Runtime's would only wait.

    Returns:
        Batch -> call, numpy in and numpy out.
    """
    import onnxruntime

    os.environ["FASTFORMERS_NUM_THREADS"] = str(threads)  # the operators' library holds a core of its own
    encoder = encoder_of(source)
    outputs = answers_of([output.name for output in encoder.plan.outputs])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.register_custom_ops_library(ff.ort_library_path())
    graph = native_encoder_model(encoder.plan, encoder.tensors, outputs, attention=encoder.attention)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    names = [entry.name for entry in session.get_inputs()]

    def bind(batch: Batch) -> Callable[[], object]:
        inputs = feed(names, batch, 0)
        return lambda: session.run(None, inputs)[0]

    return bind
