# SPDX-License-Identifier: MIT
"""ONNX Runtime on our INT8 export, activations quantized as exported: equal ranges for all rows."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "onnxruntime_export_rows"), "ours")
