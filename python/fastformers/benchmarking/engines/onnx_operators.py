# SPDX-License-Identifier: MIT
"""ONNX Runtime with our operators: the whole encoder as one node, or a node for each of its layers."""

from __future__ import annotations

import os
from collections.abc import Callable

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.compiled_encoder import answers_of, encoder_of
from fastformers.benchmarking.engines.model_source import ModelSource
from fastformers.benchmarking.engines.onnx_export import feed
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.native_encoder import native_encoder_model
from fastformers.export.session import open_session, session_options

__all__ = ["load"]


def load(
    source: ModelSource, threads: int, native: str = "encoder"
) -> Callable[[Batch], Callable[[], object]]:
    """Compiles the model with default settings and opens a session on its graph.

    Args:
        source: the model, or an artefact.
        threads: threads of a call; the operators have their own, ONNX Runtime's would only wait.
        native: what our operators hold: the whole ``"encoder"`` or single ``"layers"``.

    Returns:
        Batch -> call, numpy in and numpy out.
    """
    os.environ["FASTFORMERS_NUM_THREADS"] = str(threads)  # the operators' library holds a core of its own
    encoder = encoder_of(source)
    outputs = answers_of([output.name for output in encoder.plan.outputs])
    if native == "encoder":
        graph = native_encoder_model(encoder.plan, encoder.tensors, outputs, attention=encoder.attention)
    else:
        graph = write_encoder(encoder.plan, encoder.tensors, native_attention=encoder.attention).model
    session = open_session(graph.SerializeToString(), session_options(threads, native=True))
    names = [entry.name for entry in session.get_inputs()]

    def bind(batch: Batch) -> Callable[[], object]:
        inputs = feed(names, batch, 0)
        return lambda: session.run(outputs[:1], inputs)[0]

    return bind
