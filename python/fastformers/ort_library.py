# SPDX-License-Identifier: MIT
"""Where the library with our operators for ONNX Runtime lies."""

from __future__ import annotations

from pathlib import Path

from fastformers.errors import MissingExtraError

__all__ = ["ort_library_path"]

_LIBRARY = Path(__file__).with_name("libfastformers_ort.so")


def ort_library_path() -> str:
    """Returns the path of the operators' library, for ONNX Runtime 1.21 and newer.

    The operators (domain ``fastformers``): ``Linear``, packed INT8 with fused bias and activation; ``Attention``;
    ``Encoder``, the whole encoder in one node.

    Raises:
        MissingExtraError: this installation was built where ONNX Runtime's headers were absent, and left it out.

    Example:
        >>> options = onnxruntime.SessionOptions()  # doctest: +SKIP
        >>> options.register_custom_ops_library(ff.ort_library_path())  # doctest: +SKIP
    """
    if not _LIBRARY.is_file():
        raise MissingExtraError(
            "this installation has no operators for ONNX Runtime: it was built without ONNX Runtime's headers; get "
            "them (tools/get_onnxruntime_headers.sh on Debian), set FASTFORMERS_ORT_HEADERS to their folder, and "
            "install again"
        )
    return str(_LIBRARY)
