# SPDX-License-Identifier: MIT
"""torch float32: the transformers module, eager, sdpa attention, inference mode. What a user has before anything."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "torch_fp32"), "float32")
