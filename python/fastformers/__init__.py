# SPDX-License-Identifier: MIT
"""fastformers: transformer encoders that are several times cheaper to serve on CPUs, with the same answers.

Importing the package is light and changes nothing: no torch, no environment variable, no thread. Each public
name below is imported from its module the first time it is used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastformers import compat, errors, kernels
    from fastformers.benchmarking.ladder.run import ladder
    from fastformers.benchmarking.measure import measure
    from fastformers.config import (
        CompileConfig,
        DistillConfig,
        Fp16Config,
        Int8Config,
        Int8EmbeddingConfig,
        PruneConfig,
        TorchConfig,
        TrainConfig,
    )
    from fastformers.export.ort_model import OrtModel
    from fastformers.gpu.half import to_fp16
    from fastformers.gpu.torch_model import TorchModel
    from fastformers.modules import PackedLinear
    from fastformers.ort_library import ort_library_path
    from fastformers.pruning import drop_layers_, prune_, prune_vocabulary_
    from fastformers.quantization import quantize_
    from fastformers.quantization.artefact import load_pretrained_torch
    from fastformers.quantization.embeddings import quantize_embeddings_
    from fastformers.recipes.artefacts import load, save_pretrained
    from fastformers.recipes.compiling import compile
    from fastformers.recipes.distilling import distill, distill_folders
    from fastformers.recipes.exporting import export_onnx
    from fastformers.recipes.predicting import predict
    from fastformers.recipes.recipe_run import recipe
    from fastformers.recipes.recipe_search import search
    from fastformers.recipes.scoring import evaluate
    from fastformers.recipes.training import train
    from fastformers.rewriting import Encoder
    from fastformers.runtime.engine import Engine
    from fastformers.span_text import SpanText

__all__ = [
    "CompileConfig",
    "DistillConfig",
    "Encoder",
    "Engine",
    "Fp16Config",
    "Int8Config",
    "Int8EmbeddingConfig",
    "OrtModel",
    "PackedLinear",
    "PruneConfig",
    "SpanText",
    "TorchConfig",
    "TorchModel",
    "TrainConfig",
    "__version__",
    "compat",
    "compile",
    "distill",
    "distill_folders",
    "drop_layers_",
    "errors",
    "evaluate",
    "export_onnx",
    "kernels",
    "ladder",
    "load",
    "load_pretrained_torch",
    "measure",
    "ort_library_path",
    "predict",
    "prune_",
    "prune_vocabulary_",
    "quantize_",
    "quantize_embeddings_",
    "recipe",
    "save_pretrained",
    "search",
    "to_fp16",
    "train",
]

_HOME_OF_NAME = {
    "CompileConfig": "fastformers.config",
    "DistillConfig": "fastformers.config",
    "Encoder": "fastformers.rewriting",
    "Engine": "fastformers.runtime.engine",
    "Fp16Config": "fastformers.config",
    "Int8Config": "fastformers.config",
    "Int8EmbeddingConfig": "fastformers.config",
    "OrtModel": "fastformers.export.ort_model",
    "PackedLinear": "fastformers.modules",
    "PruneConfig": "fastformers.config",
    "SpanText": "fastformers.span_text",
    "TorchConfig": "fastformers.config",
    "TorchModel": "fastformers.gpu.torch_model",
    "TrainConfig": "fastformers.config",
    "compile": "fastformers.recipes.compiling",
    "drop_layers_": "fastformers.pruning",
    "evaluate": "fastformers.recipes.scoring",
    "export_onnx": "fastformers.recipes.exporting",
    "distill": "fastformers.recipes.distilling",
    "distill_folders": "fastformers.recipes.distilling",
    "ladder": "fastformers.benchmarking.ladder.run",
    "load": "fastformers.recipes.artefacts",
    "load_pretrained_torch": "fastformers.quantization.artefact",
    "ort_library_path": "fastformers.ort_library",
    "measure": "fastformers.benchmarking.measure",
    "predict": "fastformers.recipes.predicting",
    "prune_": "fastformers.pruning",
    "prune_vocabulary_": "fastformers.pruning",
    "quantize_": "fastformers.quantization",
    "quantize_embeddings_": "fastformers.quantization.embeddings",
    "recipe": "fastformers.recipes.recipe_run",
    "save_pretrained": "fastformers.recipes.artefacts",
    "search": "fastformers.recipes.recipe_search",
    "to_fp16": "fastformers.gpu.half",
    "train": "fastformers.recipes.training",
}
_SUBMODULES = frozenset({"compat", "errors", "kernels"})


def __getattr__(name: str) -> object:
    """Imports a public name on first use and keeps it, so that later look-ups cost nothing."""
    if name in _SUBMODULES:
        return import_module(f"fastformers.{name}")
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module 'fastformers' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME_OF_NAME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, loaded or not."""
    return sorted(__all__)
