# SPDX-License-Identifier: MIT
"""ONNX Runtime with our operators: each linear layer and each attention block a node between its own nodes."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "onnxruntime_fastformers_layers"), "ours")
