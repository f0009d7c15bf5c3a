# SPDX-License-Identifier: MIT
"""torch.compile: inductor, frozen weights, static shapes.

A compilation takes 10 to 60 seconds a shape and changes little (products dominate): measured on two batches only.
"""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "torch_compile"), "float32", batches=frozenset({"b1s16", "b1s128"}))
