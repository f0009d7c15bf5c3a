# SPDX-License-Identifier: MIT
"""The ladder: what each technique adds, row by row, from PyTorch padded to a pruned INT8 engine with instances."""

from __future__ import annotations

from fastformers.benchmarking.ladder.report import LadderReport
from fastformers.benchmarking.ladder.run import ladder

__all__ = ["LadderReport", "ladder"]
