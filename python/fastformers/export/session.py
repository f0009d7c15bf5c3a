# SPDX-License-Identifier: MIT
"""ONNX Runtime sessions with good defaults for encoders on CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastformers import kernels
from fastformers._optional import require
from fastformers.errors import ConfigError, FormatError, MissingExtraError
from fastformers.export.self_contained import require_self_contained

__all__ = ["open_session", "session_options"]

#: Oldest ONNX Runtime that knows everything an exported graph uses.
_OLDEST = (1, 20)
#: Oldest that our operators' library, built for its C API, registers with.
_OLDEST_WITH_OPERATORS = (1, 21)
#: With it the product of u8 and s8 is exact; without, ONNX Runtime would saturate.
_VNNI = "avx512vnni"


def session_options(threads: int, *, shared_cores: bool = False, native: bool = False) -> Any:
    """Makes the options of a session.

    Args:
        threads: that compute one call.
        shared_cores: other sessions compute on the same cores: waiting threads then sleep instead of spinning.
        native: register fastformers' operators; those have threads of their own, so ONNX Runtime's number is 1.

    Returns:
        ``onnxruntime.SessionOptions``: all optimisations; no saturation of INT8 products on CPUs without VNNI; memory
        asked for as it is needed, because patterns of it are of no use when every length is another one.

    Raises:
        MissingExtraError: ONNX Runtime is not installed, too old, or fastformers' operators were not built.
    """
    runtime = require("onnxruntime", "onnx", "running ONNX models")
    found = tuple(int(part) for part in runtime.__version__.split(".")[:2])
    if found < _OLDEST:
        raise MissingExtraError(
            f"ONNX Runtime {runtime.__version__} is too old for these graphs: "
            f"pip install 'onnxruntime>={_OLDEST[0]}.{_OLDEST[1]}'"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1 if native else threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if shared_cores else "1")
    if _VNNI not in kernels.available_isas():  # elsewhere it would only be slower, by half
        options.add_session_config_entry("session.x64quantprecision", "1")
    if native:
        _register_operators(runtime, options)
    return options


def _register_operators(runtime: Any, options: Any) -> None:
    from fastformers.ort_library import ort_library_path

    path = ort_library_path()
    try:
        options.register_custom_ops_library(path)
    except Exception as error:  # of many classes, with no common one that is public
        raise MissingExtraError(
            f"ONNX Runtime {runtime.__version__} refuses fastformers' operators ({error}): "
            f"pip install 'onnxruntime>={_OLDEST_WITH_OPERATORS[0]}.{_OLDEST_WITH_OPERATORS[1]}'"
        ) from error


def open_session(source: Path | bytes, options: Any) -> Any:
    """Opens a session on the CPU.

    Args:
        source: file or content of a model. A file that keeps its weights in other files is refused.
        options: from :func:`session_options`.

    Raises:
        ConfigError: there is no such file.
        FormatError: ONNX Runtime refuses the model, or its weights are in other files; says which.
    """
    runtime = require("onnxruntime", "onnx", "running ONNX models")
    if isinstance(source, Path):
        if not source.is_file():
            raise ConfigError(f"{source} is not there: export the model in that precision first")
        require_self_contained(source)
    try:
        given = str(source) if isinstance(source, Path) else source
        return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, with no common one that is public
        what = source if isinstance(source, Path) else "the model"
        raise FormatError(f"ONNX Runtime {runtime.__version__} refuses {what}: {error}") from error
