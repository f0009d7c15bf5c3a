# SPDX-License-Identifier: MIT
"""OpenVINO float32, latency hint, one stream, reshaped to each batch."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "openvino_fp32"), "float32")
