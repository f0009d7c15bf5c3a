# SPDX-License-Identifier: MIT
"""ONNX Runtime float32, fused: Attention, EmbedLayerNormalization, SkipLayerNormalization, BiasGelu."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "onnxruntime_fp32"), "float32")
