# SPDX-License-Identifier: MIT
"""torch dynamic INT8, onednn engine: wins over x86 on many tokens only."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "torch_dynamic_onednn"), "dynamic INT8")
