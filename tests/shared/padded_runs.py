# SPDX-License-Identifier: MIT
"""One text computed by an exported model alone, and with padding on either side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastformers as ff


def logits_with_padding(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of seven tokens alone, with four of padding on the right, and on the left."""
    ids = np.random.default_rng(0).integers(4, 90, (1, 7))
    padding = np.ones((1, 4), np.int64)
    ones, zeros = np.ones_like(ids), np.zeros_like(padding)
    with ff.OrtModel(folder) as model:
        alone = model.run(ids)["logits"]
        right = model.run(np.hstack([ids, padding]), np.hstack([ones, zeros]))["logits"]
        left = model.run(np.hstack([padding, ids]), np.hstack([zeros, ones]))["logits"]
    return alone, right, left
