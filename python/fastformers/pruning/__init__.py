# SPDX-License-Identifier: MIT
"""Pruning: scores of heads and neurons, their removal from stock models, fewer layers, smaller vocabularies."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.prune_")

from fastformers.pruning.prune import prune_  # noqa: E402 - after the check that torch is there
from fastformers.pruning.report import LayerReport, PruneReport  # noqa: E402

__all__ = ["LayerReport", "PruneReport", "prune_"]
