# SPDX-License-Identifier: MIT
"""OpenVINO INT8, calibrated with NNCF on 24 sequences (TRANSFORMER, MIXED), reshaped to each batch."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "openvino_int8_calibrated"), "static INT8")
