# SPDX-License-Identifier: MIT
"""INT8 quantization of torch models: calibration, conversion, comparison with float32, saving and loading."""

from __future__ import annotations

from fastformers.modules import PackedLinear  # noqa: F401 - first: says which extra to install without torch
from fastformers.quantization.agreement import Agreement
from fastformers.quantization.quantize import quantize_
from fastformers.quantization.report import LayerReport, QuantizationReport

__all__ = ["Agreement", "LayerReport", "QuantizationReport", "quantize_"]
