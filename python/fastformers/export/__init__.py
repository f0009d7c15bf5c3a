# SPDX-License-Identifier: MIT
"""ONNX: graphs written from encoder plans, checked against the model, and run by ONNX Runtime with good defaults."""

from __future__ import annotations

from fastformers.export.ort_model import OrtModel
from fastformers.export.report import ExportReport

__all__ = ["ExportReport", "OrtModel"]
