# SPDX-License-Identifier: MIT
"""Torch modules over the INT8 kernels."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.PackedLinear")

from fastformers.modules.packed_linear import (  # noqa: E402 - after the check that torch is there
    PackedLinear,
    holds_packed_layers,
)

__all__ = ["PackedLinear", "holds_packed_layers"]
