# SPDX-License-Identifier: MIT
"""Real text to compare on: news, passages and short reviews, from a folder that is not part of the project."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

__all__ = ["SOURCES", "data_folder", "read_texts"]

#: Name -> (file below the data folder, field). What each kind of text is like is said in README.md.
SOURCES = {
    "news": ("superglue/RTE/val.jsonl", "premise"),
    "passages": ("superglue/BoolQ/val.jsonl", "passage"),
    "reviews": ("glue/SST-2/dev.tsv", "sentence"),
}


def data_folder() -> Path | None:
    """The folder with superglue/ and glue/: ``FASTFORMERS_DATA``, else ``../shared/data``; None when absent."""
    folder = Path(os.environ.get("FASTFORMERS_DATA", Path(__file__).parents[3] / "shared" / "data"))
    return folder if folder.is_dir() else None


def _read(path: Path, field: str) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".jsonl":
        return [json.loads(line)[field] for line in lines if line]
    column = lines[0].split("\t").index(field)
    return [line.split("\t")[column] for line in lines[1:] if line]


def read_texts(folder: Path, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """``count`` texts, the same number of each kind, as (kind, text); the same ones for the same seed."""
    chosen: list[tuple[str, str]] = []
    for kind, (name, field) in SOURCES.items():
        texts = sorted(set(_read(folder / name, field)))
        random.Random(seed).shuffle(texts)
        chosen += [(kind, text) for text in texts[: count // len(SOURCES)]]
    return chosen
