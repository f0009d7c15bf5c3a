# SPDX-License-Identifier: MIT
"""Who takes part: one file each, which says how the engine is configured and where it is measured."""

from __future__ import annotations

from bench.workloads.encoder.contestants import (
    ctranslate2_int8,
    fastformers_module,
    fastformers_ragged,
    onnxruntime_export_rows,
    onnxruntime_export_tensor,
    onnxruntime_fastformers,
    onnxruntime_fastformers_layers,
    onnxruntime_fp32,
    onnxruntime_int8_fused,
    onnxruntime_int8_plain,
    openvino_fp32,
    openvino_int8_calibrated,
    torch_compile,
    torch_dynamic_onednn,
    torch_dynamic_x86,
    torch_fp32,
)
from bench.workloads.encoder.entry import Entry

ENTRIES: tuple[Entry, ...] = (
    fastformers_ragged.ENTRY,
    fastformers_module.ENTRY,
    onnxruntime_fastformers.ENTRY,
    onnxruntime_fastformers_layers.ENTRY,
    onnxruntime_export_rows.ENTRY,
    onnxruntime_export_tensor.ENTRY,
    openvino_int8_calibrated.ENTRY,
    openvino_fp32.ENTRY,
    onnxruntime_int8_plain.ENTRY,
    onnxruntime_int8_fused.ENTRY,
    onnxruntime_fp32.ENTRY,
    ctranslate2_int8.ENTRY,
    torch_dynamic_x86.ENTRY,
    torch_dynamic_onednn.ENTRY,
    torch_compile.ENTRY,
    torch_fp32.ENTRY,
)
