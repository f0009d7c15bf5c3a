# SPDX-License-Identifier: MIT
"""The engines a user would pick, each configured at its best: one file per library, imported in its own process only.

A file defines

    load(source: ModelSource, threads: int, **options: str) -> Callable[[Batch], Callable[[], object]]

which converts and loads a model outside the timing and returns a function that binds a batch: inputs already in the
library's own tensors. The bound call is what is timed; ``np.asarray`` turns its result into the float32 answers:
[sequences, features], or one row per token, padded or ragged (see :meth:`batch.Batch.without_padding`).
"""

from __future__ import annotations

from fastformers.benchmarking.contestants import Contestant, by_name

__all__ = ["ENGINES", "FAMILIES", "OURS", "OURS_AS_MODULE", "REFERENCE", "chosen"]

_TORCH = ("torch", "transformers")
_EXPORT = ("torch", "transformers", "onnx")

OURS = Contestant("fastformers", f"{__name__}.compiled_encoder", _TORCH, "torch", {"interface": "ragged"})
OURS_AS_MODULE = Contestant("fastformers_module", OURS.module, _TORCH, "torch", {"interface": "module"})
REFERENCE = Contestant("torch_fp32", f"{__name__}.torch_eager", _TORCH, "torch", {"precision": "float32"})

#: What ``--engines`` takes: a family, or a name of one of its members.
FAMILIES: dict[str, tuple[Contestant, ...]] = {
    "torch": (
        REFERENCE,
        Contestant("torch_dynamic_x86", REFERENCE.module, _TORCH, "torch", {"precision": "x86"}),
        Contestant("torch_dynamic_onednn", REFERENCE.module, _TORCH, "torch", {"precision": "onednn"}),
    ),
    "torch_compile": (Contestant("torch_compile", f"{__name__}.torch_compiled", _TORCH, "torch"),),
    "onnxruntime": tuple(
        Contestant(
            f"onnxruntime_{short}",
            f"{__name__}.onnx_runtime",
            (*_EXPORT, "onnxruntime"),
            "onnx",
            {"graph": graph},
        )
        for short, graph in (
            ("fp32", "float32"),
            ("int8_plain", "int8_plain"),
            ("int8_fused", "int8_fused"),
        )
    ),
    "onnxruntime_export": tuple(
        Contestant(
            f"onnxruntime_export_{ranges}",
            f"{__name__}.onnx_ours",
            (*_EXPORT, "onnxruntime"),
            "onnx",
            {"ranges": ranges},
        )
        for ranges in ("rows", "tensor")
    ),
    "onnxruntime_fastformers": tuple(
        Contestant(name, f"{__name__}.onnx_operators", (*_EXPORT, "onnxruntime"), "onnx", {"native": native})
        for name, native in (
            ("onnxruntime_fastformers", "encoder"),
            ("onnxruntime_fastformers_layers", "layers"),
        )
    ),
    "openvino": tuple(
        Contestant(
            f"openvino_{short}",
            f"{__name__}.openvino_runtime",
            (*_EXPORT, "openvino", "nncf"),
            "openvino",
            {"precision": precision},
        )
        for short, precision in (("fp32", "float32"), ("int8_calibrated", "int8_calibrated"))
    ),
    "ctranslate2": (
        Contestant(
            "ctranslate2_int8", f"{__name__}.ctranslate2_encoder", (*_TORCH, "ctranslate2"), "ctranslate2"
        ),
    ),
    "fastformers": (OURS, OURS_AS_MODULE),
}
ENGINES = tuple(engine for family in FAMILIES.values() for engine in family)


def chosen(names: list[str]) -> list[Contestant]:
    """Returns the engines of families or names, each once, in the order given.

    Raises:
        ValueError: no such family and no such engine.

    Example:
        >>> [engine.name for engine in chosen(["fastformers", "torch_fp32"])]
        ['fastformers', 'torch_fp32']
    """
    found = [engine for name in names for engine in FAMILIES.get(name) or (by_name(ENGINES, name),)]
    return list({engine.name: engine for engine in found}.values())
