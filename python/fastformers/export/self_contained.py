# SPDX-License-Identifier: MIT
"""Refuses ONNX files that keep weights in other files: what is read must be what was exported and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastformers._optional import require
from fastformers.errors import FormatError

__all__ = ["require_self_contained"]


def require_self_contained(path: Path) -> None:
    """Passes when every tensor of an ONNX file is in the file.

    Args:
        path: of the file.

    Raises:
        FormatError: a tensor is in another file, which is named; or the file is not ONNX.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", "onnx", "reading ONNX models")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's class for it has no public name
        raise FormatError(f"{path} is not an ONNX file, or damaged: {error}") from error
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
            raise FormatError(
                f"{path} keeps {tensor.name} in another file, {place}: only self-contained files are opened; "
                "export the model again, or save it as one file"
            )


def _tensors(graph: Any) -> Iterator[Any]:
    """The tensors of a graph, those of nodes' attributes and inner graphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
