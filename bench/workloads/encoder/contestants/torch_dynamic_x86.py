# SPDX-License-Identifier: MIT
"""torch dynamic INT8, x86 engine: one weight scale per matrix, torch's default and its quicker choice."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "torch_dynamic_x86"), "dynamic INT8")
