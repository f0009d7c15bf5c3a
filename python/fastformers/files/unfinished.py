# SPDX-License-Identifier: MIT
"""Folders that are being written beside their final place, and what killed processes left of them.

A folder being written is locked (``flock``) by the process that writes it. The system takes the lock away when that
process ends, however it ends: so a folder that can be locked is nobody's, in whatever container its writer ran. Where a
file system knows no such locks, nothing is ever removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastformers.files.folder_lock import lock, open_folder

__all__ = ["move_aside", "remove_unfinished", "unfinished_folder"]

_SUFFIX = ".part"
_ASIDE = "-old"


@contextmanager
def unfinished_folder(target: Path) -> Iterator[Path]:
    """Makes an empty folder beside ``target`` and holds its lock; at the end what is at its path is removed.

    Args:
        target: where the folder is to be moved in the end; absolute, its parent must exist.
    """
    folder, descriptor = _made(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def move_aside(folder: Path, target: Path) -> None:
    """Puts a whole new folder in the place of an old one, where the system cannot exchange them in one step.

    Between the two renames nothing is in that place; :func:`remove_unfinished` ends what a killed process began.

    Args:
        folder: of :func:`unfinished_folder`, complete.
        target: the old one.
    """
    old = folder.with_name(f"{folder.name}{_ASIDE}")
    target.rename(old)
    folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def remove_unfinished(target: Path) -> None:
    """Removes what processes that ended too soon left beside ``target``; folders of living ones stay.

    A move that was cut short is ended: the new folder takes its place.

    Args:
        target: as there.
    """
    name = re.compile(rf"\.{re.escape(target.name)}-[0-9a-f]{{12}}{re.escape(_SUFFIX)}")
    beside = list(target.parent.iterdir())
    for folder in [path for path in beside if name.fullmatch(path.name)]:
        try:
            descriptor = open_folder(folder)
        except OSError:  # no folder, or gone by now
            continue
        if lock(descriptor):
            _end(folder, target)
        os.close(descriptor)
    for old in [path for path in beside if name.fullmatch(path.name.removesuffix(_ASIDE))]:
        if target.exists() and old.name.endswith(_ASIDE) and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)


def _end(folder: Path, target: Path) -> None:
    """Moves a folder in whose old one was put aside for it, which is so only of whole ones; removes others."""
    if not target.exists() and folder.with_name(f"{folder.name}{_ASIDE}").is_dir():
        folder.rename(target)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _made(target: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock; another one where it was taken for left over meanwhile."""
    while True:
        folder = target.with_name(f".{target.name}-{secrets.token_hex(6)}{_SUFFIX}")
        folder.mkdir()
        try:
            descriptor = open_folder(folder)
        except FileNotFoundError:
            continue
        if lock(descriptor) is not False and _is_at(folder, descriptor):
            return folder, descriptor
        os.close(descriptor)


def _is_at(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
