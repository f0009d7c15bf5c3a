# SPDX-License-Identifier: MIT
"""Who takes part: one file per library, named here with what it needs, and imported only in its own process.

Every contestant packs its weights outside the timing, takes float32 rows and returns float32 rows with bias
and ReLU, allocates its own output as it would for a user, and is called from Python. A file defines

    prepare(case: Case, threads: int, **options: str) -> Callable[[], object]

whose result ``np.asarray`` turns into the float32 [rows, columns] output.
"""

from __future__ import annotations

from fastformers.benchmarking.contestants import Contestant

# What keeps torch's float32 matmul (oneDNN or MKL, and its own vector code) from using AVX-512.
AVX2_CAP = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}

OURS = Contestant("fastformers", f"{__name__}.fastformers_linear", ("fastformers",), "torch")
OURS_AVX2 = Contestant(
    "fastformers_avx2",
    f"{__name__}.fastformers_linear",
    ("fastformers",),
    "torch",
    environment={"FASTFORMERS_ISA": "avx2"},
)
PEERS = (
    Contestant("torch_fp32", f"{__name__}.torch_fp32", ("torch",), "torch"),
    Contestant("torch_dynamic_x86", f"{__name__}.torch_dynamic", ("torch",), "torch", {"engine": "x86"}),
    Contestant(
        "torch_dynamic_onednn", f"{__name__}.torch_dynamic", ("torch",), "torch", {"engine": "onednn"}
    ),
    Contestant(
        "torch_dynamic_fbgemm", f"{__name__}.torch_dynamic", ("torch",), "torch", {"engine": "fbgemm"}
    ),
    Contestant("onnxruntime_dynamic", f"{__name__}.onnxruntime_dynamic", ("onnx", "onnxruntime"), "onnx"),
)
CAPPED_PEER = Contestant(
    "torch_fp32_avx2", f"{__name__}.torch_fp32", ("torch",), "torch", environment=AVX2_CAP
)
ALL = (OURS, *PEERS, OURS_AVX2, CAPPED_PEER)
