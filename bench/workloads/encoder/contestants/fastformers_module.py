# SPDX-License-Identifier: MIT
"""fastformers behind the signature of the transformers model: torch tensors and a mask in, torch logits out."""

from __future__ import annotations

from bench.workloads.encoder.entry import Entry
from fastformers.benchmarking.engines import OURS_AS_MODULE

ENTRY = Entry(OURS_AS_MODULE, "ours")
