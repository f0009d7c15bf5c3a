# SPDX-License-Identifier: MIT
"""ONNX Runtime on our INT8 export: its own operators on the graph that ``export_onnx`` writes."""

from __future__ import annotations

from collections.abc import Callable

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.compiled_encoder import answers_of, encoder_of
from fastformers.benchmarking.engines.model_source import ModelSource
from fastformers.benchmarking.engines.onnx_export import feed
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.linear_nodes import EQUAL_ROWS
from fastformers.export.session import open_session, session_options

__all__ = ["load"]


def load(source: ModelSource, threads: int, ranges: str) -> Callable[[Batch], Callable[[], object]]:
    """Compiles the model with default settings, writes its graph and opens a session.

    Args:
        source: the model, or an artefact.
        threads: threads inside an operator.
        ranges: of activations: ``"rows"``, as exports have them, or ``"tensor"``, ONNX Runtime's own way.

    Returns:
        Batch -> call, numpy in and numpy out.
    """
    encoder = encoder_of(source)
    graph = write_encoder(
        encoder.plan, encoder.tensors, equal_rows=EQUAL_ROWS if ranges == "rows" else ()
    ).model
    session = open_session(graph.SerializeToString(), session_options(threads))
    outputs = answers_of([entry.name for entry in session.get_outputs()])[:1]
    names = [entry.name for entry in session.get_inputs()]

    def bind(batch: Batch) -> Callable[[], object]:
        inputs = feed(names, batch, 0)
        return lambda: session.run(outputs, inputs)[0]

    return bind
