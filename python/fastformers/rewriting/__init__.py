# SPDX-License-Identifier: MIT
"""Transformers models as encoder plans: an adapter for each family, and the encoder that runs the result."""

from __future__ import annotations

from fastformers.modules import PackedLinear  # noqa: F401 - first: says which extra to install without torch
from fastformers.rewriting.encoder import Encoder
from fastformers.rewriting.translate import Translation, check_supported, translate

__all__ = ["Encoder", "Translation", "check_supported", "translate"]
