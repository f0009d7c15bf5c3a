# SPDX-License-Identifier: MIT
"""OpenVINO: float32, and INT8 calibrated with NNCF (static activation ranges); reshaped to the batch at hand.

Static INT8 needs calibration sequences and fixes one range per tensor: fast, and less faithful than per-token ranges.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import ModelSource, kept
from fastformers.benchmarking.engines.onnx_export import exported, feed

__all__ = ["load"]

_MODEL_FILE = "model.xml"


def load(source: ModelSource, threads: int, precision: str) -> Callable[[Batch], Callable[[], object]]:
    """Reads the model; it is compiled for the shape of each batch.

    Args:
        source: the model.
        threads: inference threads, one stream.
        precision: ``"float32"`` or ``"int8_calibrated"``.

    Returns:
        Batch -> call: inputs already in the request's tensors, numpy out.
    """
    import openvino

    core = openvino.Core()
    path = exported(source) if precision == "float32" else _calibrated(source)
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the process is pinned already
    }

    def bind(batch: Batch) -> Callable[[], object]:
        model = core.read_model(path)
        inputs = feed([entry.any_name for entry in model.inputs], batch, 0)
        model.reshape({name: list(array.shape) for name, array in inputs.items()})
        request = core.compile_model(model, "CPU", properties).create_infer_request()
        for name, array in inputs.items():
            request.set_tensor(name, openvino.Tensor(array))
        return lambda: _infer(request)

    return bind


def _infer(request: Any) -> object:
    request.infer()
    return request.get_output_tensor(0).data


def _calibrated(source: ModelSource) -> Path:
    return kept(source.workspace / "openvino-int8", lambda folder: _calibrate(source, folder)) / _MODEL_FILE


def _calibrate(source: ModelSource, folder: Path) -> None:
    """Quantizes as NNCF recommends for transformers: TRANSFORMER, MIXED (weights symmetric, activations not)."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(exported(source))
    names = [entry.any_name for entry in model.inputs]
    samples = [feed(names, batch, 0) for batch in source.calibration()]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
    )
    openvino.save_model(quantized, folder / _MODEL_FILE, compress_to_fp16=False)
