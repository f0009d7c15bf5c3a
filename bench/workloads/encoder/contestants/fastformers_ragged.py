# SPDX-License-Identifier: MIT
"""fastformers: the compiled encoder with default settings, ragged ids in numpy, as the serving engine calls it."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.engines import OURS

ENTRY = Entry(OURS, "ours", all_rows=True)
