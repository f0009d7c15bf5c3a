# SPDX-License-Identifier: MIT
"""CTranslate2 INT8, its default backend; mixed lengths as lists, which skips padding."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.contestants import by_name
from fastformers.benchmarking.engines import ENGINES

ENTRY = Entry(by_name(ENGINES, "ctranslate2_int8"), "dynamic INT8")
