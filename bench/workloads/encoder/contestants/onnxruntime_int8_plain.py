# SPDX-License-Identifier: MIT
"""ONNX Runtime dynamic INT8 of the exported graph, fusing left to the session; often the quicker of the two."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "onnxruntime_int8_plain"), "dynamic INT8")
