# SPDX-License-Identifier: MIT
"""What a saved folder's manifest says of itself, before anybody knows which reader it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastformers.files.fields import MANIFEST
from fastformers.files.strict_json import read_json

__all__ = ["read_manifest", "saved_format"]

_MOST_MANIFEST_BYTES = 16 << 20


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads what a folder of ours says of its model.

    Raises:
        FormatError: it is missing or damaged.
    """
    return read_json(folder / MANIFEST, _MOST_MANIFEST_BYTES)


def saved_format(folder: Path) -> str | None:
    """Returns the format that a folder's manifest names, "" for one that names none; ``None`` without a manifest.

    Raises:
        FormatError: the manifest is damaged.
    """
    if not (folder / MANIFEST).exists():
        return None
    return str(read_manifest(folder).get("format", ""))
