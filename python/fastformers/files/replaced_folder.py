# SPDX-License-Identifier: MIT
"""Writes a folder beside its final place and moves it there in one step: nobody sees it half-written.

What was written is on the disk before it is moved, so that neither a killed process nor a power cut leaves a mixture.
What a killed process wrote half is removed by the next save to the same place.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fastformers.errors import ConfigError
from fastformers.files.unfinished import move_aside, remove_unfinished, unfinished_folder

__all__ = ["check_place", "replaced_folder"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replaced_folder(target: Path, overwrite: bool, marker: str) -> Iterator[Path]:
    """Yields an empty folder to write into, which becomes ``target`` when the block ends without an exception.

    Args:
        target: where the folder is to be.
        overwrite: replace a folder that is there.
        marker: file that such a folder must hold, so that nothing else is ever deleted.

    Raises:
        ConfigError: the place is taken, or its parent does not exist or cannot be written to.
        OSError: the system cannot write, for example because the disk is full.
    """
    target = target.absolute()
    if target.parent.is_dir():
        remove_unfinished(target)  # first: it may put something there
    check_place(target, overwrite, marker)
    with unfinished_folder(target) as folder:
        try:
            yield folder
        except SafetensorError as error:  # how its writer tells that the disk is full
            raise OSError(f"{target} cannot be written: {error}") from error
        for path in (*folder.rglob("*"), folder):
            _flush(path)
        _move(folder, target)
        _flush(target.parent)


def check_place(target: Path, overwrite: bool, marker: str) -> None:
    """Checks that :func:`replaced_folder` will find room, for work that takes long before it writes.

    Args:
        target: as there.
        overwrite: as there.
        marker: as there.

    Raises:
        ConfigError: the place is taken, or its parent does not exist or cannot be written to.
    """
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent} is not a folder: make it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{target.parent} cannot be written to: choose another path, or change its permissions"
        )
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise ConfigError(f"{target} is not a folder: choose another path")
    if any(target.iterdir()):
        if not overwrite:
            raise ConfigError(
                f"{target} exists and is not empty: choose another path, or pass overwrite=True (--overwrite)"
            )
        if not (target / marker).is_file():
            raise ConfigError(
                f"{target} holds no {marker}, so it was not saved by fastformers: not overwritten"
            )


def _flush(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(folder: Path, target: Path) -> None:
    if not target.exists():
        folder.rename(target)
    elif not _exchange(folder, target):
        move_aside(folder, target)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step where the system can; the old content ends under ``one``."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(renameat2(*arguments) == 0)
