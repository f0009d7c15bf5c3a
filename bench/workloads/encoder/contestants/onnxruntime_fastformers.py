# SPDX-License-Identifier: MIT
"""ONNX Runtime with our operators: the whole encoder as one node of an ONNX graph."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "onnxruntime_fastformers"), "ours")
