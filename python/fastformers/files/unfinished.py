# SPDX-License-Identifier: MIT
"""Folders that are being written beside their final place, and what killed processes left of them.

A folder being written is locked (``flock``) by the process that writes it. The system takes the lock away when that
process ends, however it ends: so a folder that can be locked is nobody's, in whatever container its writer ran. Where a
file system knows no such locks, nothing is ever removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["remove_unfinished", "unfinished_folder"]

_SUFFIX = ".part"


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


def remove_unfinished(target: Path) -> None:
    """Removes what processes that ended too soon left beside ``target``; folders of living ones stay.

    Args:
        target: as there.
    """
    name = re.compile(rf"\.{re.escape(target.name)}-[0-9a-f]{{12}}{re.escape(_SUFFIX)}")
    for folder in [path for path in target.parent.iterdir() if name.fullmatch(path.name)]:
        try:
            descriptor = _open(folder)
        except OSError:  # no folder, or gone by now
            continue
        if _lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _made(target: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock; another one where it was taken for left over meanwhile."""
    while True:
        folder = target.with_name(f".{target.name}-{secrets.token_hex(6)}{_SUFFIX}")
        folder.mkdir()
        try:
            descriptor = _open(folder)
        except FileNotFoundError:
            continue
        if _lock(descriptor) is not False and _is_at(folder, descriptor):
            return folder, descriptor
        os.close(descriptor)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was free and is ours now; ``None`` where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
