# SPDX-License-Identifier: MIT
"""Torch modules over the INT8 kernels."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.PackedLinear")

from fastformers.modules.packed_linear import PackedLinear  # noqa: E402 - after the check that torch is there

__all__ = ["PackedLinear"]
