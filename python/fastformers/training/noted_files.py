# SPDX-License-Identifier: MIT
"""Checksums of a checkpoint's files, so that damage is found before anything is made of them.

transformers' Trainer skips a file that is missing, and a torn one makes torch fail with an error of its own.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from fastformers.errors import FormatError
from fastformers.files.digests import checksum_of
from fastformers.files.strict_json import read_json, write_json

__all__ = ["check_files", "note_files"]

_NOTED = "files.json"


def note_files(folder: Path) -> None:
    """Writes ``files.json``: every file in the folder and below, with its checksum."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / _NOTED, {str(path.relative_to(folder)): _checksum(path) for path in files})


def check_files(folder: Path) -> None:
    """Compares the files with what was noted; a folder of an earlier version, without ``files.json``, passes.

    Raises:
        FormatError: a file is missing or is not what was written; names it.
    """
    if not (folder / _NOTED).exists():
        return
    for name, noted in read_json(folder / _NOTED).items():
        path = folder / name
        if not path.is_file() or _checksum(path) != noted:
            raise FormatError(f"{path} is {'damaged' if path.is_file() else 'missing'}")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return checksum_of(b"")
        return checksum_of(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
