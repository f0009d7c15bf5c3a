# SPDX-License-Identifier: MIT
"""Who takes part: one file per library, named here with what it needs, and imported only in its own process.

Every contestant packs its weights outside the timing, takes float32 rows and returns float32 rows with bias
and ReLU, allocates its own output as it would for a user, and is called from Python. A file defines

    prepare(case: Case, threads: int, **options: str) -> Callable[[], object]

whose result ``np.asarray`` turns into the float32 [rows, columns] output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec

from bench.kernels.cases import Case


@dataclass(frozen=True)
class Contestant:
    """One row of the comparison.

    Attributes:
        name: how the tables call it.
        module: file of this folder.
        packages: what must be installed.
        extra: extra of fastformers that installs them.
        options: passed to ``prepare``.
        environment: environment variables of its process, e.g. a cap on the instruction set.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    extra: str
    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str:
        """Says which packages are absent and how to get them; empty when none is."""
        absent = [package for package in self.packages if find_spec(package) is None]
        return (
            f"{' and '.join(absent)} not installed: python -m pip install '.[{self.extra}]'" if absent else ""
        )

    def load(self) -> Callable[..., Callable[[], object]]:
        """Imports the contestant's file and returns its ``prepare``."""
        prepare: Callable[..., Callable[[], object]] = import_module(f"{__name__}.{self.module}").prepare
        return prepare

    def prepare(self, case: Case, threads: int) -> Callable[[], object]:
        """Packs the weights of a case and returns the call to time."""
        return self.load()(case, threads, **self.options)

    def inference(self) -> AbstractContextManager[object]:
        """Returns the context in which a user serves with this library: torch's inference mode, or none."""
        if "torch" not in self.packages:
            return nullcontext()
        context: AbstractContextManager[object] = import_module("torch").inference_mode()
        return context


# What keeps torch's float32 matmul (oneDNN or MKL, and its own vector code) from using AVX-512.
AVX2_CAP = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}

OURS = Contestant("fastformers", "fastformers_linear", ("fastformers",), "torch")
OURS_AVX2 = Contestant(
    "fastformers_avx2",
    "fastformers_linear",
    ("fastformers",),
    "torch",
    environment={"FASTFORMERS_ISA": "avx2"},
)
PEERS = (
    Contestant("torch_fp32", "torch_fp32", ("torch",), "torch"),
    Contestant("torch_dynamic_x86", "torch_dynamic", ("torch",), "torch", {"engine": "x86"}),
    Contestant("torch_dynamic_onednn", "torch_dynamic", ("torch",), "torch", {"engine": "onednn"}),
    Contestant("torch_dynamic_fbgemm", "torch_dynamic", ("torch",), "torch", {"engine": "fbgemm"}),
    Contestant("onnxruntime_dynamic", "onnxruntime_dynamic", ("onnx", "onnxruntime"), "onnx"),
)
CAPPED_PEER = Contestant("torch_fp32_avx2", "torch_fp32", ("torch",), "torch", environment=AVX2_CAP)
ALL = (OURS, *PEERS, OURS_AVX2, CAPPED_PEER)


def by_name(name: str) -> Contestant:
    """Returns the contestant of that name.

    Raises:
        ValueError: no such contestant.
    """
    for contestant in ALL:
        if contestant.name == name:
            return contestant
    raise ValueError(f"unknown contestant {name!r}: choose among {', '.join(c.name for c in ALL)}")
