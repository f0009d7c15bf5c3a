# SPDX-License-Identifier: MIT
"""Pruning: scores of heads and neurons, their removal from stock models, fewer layers, smaller vocabularies."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.prune_")

from fastformers.pruning.layers import drop_layers_  # noqa: E402 - after the check that torch is there
from fastformers.pruning.prune import describe_pruning, prune_  # noqa: E402
from fastformers.pruning.report import LayerReport, PruneReport  # noqa: E402
from fastformers.pruning.vocabulary import prune_vocabulary_  # noqa: E402

__all__ = ["LayerReport", "PruneReport", "describe_pruning", "drop_layers_", "prune_", "prune_vocabulary_"]
