# SPDX-License-Identifier: MIT
"""ONNX Runtime on our INT8 export, activations quantized with one range for a whole tensor, ONNX Runtime's own way."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "onnxruntime_export_tensor"), "ours")
