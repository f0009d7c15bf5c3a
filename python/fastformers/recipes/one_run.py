# SPDX-License-Identifier: MIT
"""One run at a time in an output folder: two would replace each other's stages, and note over each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastformers.errors import ConfigError

try:
    import fcntl
except ImportError:  # no such locks on this system: runs go on without
    fcntl = None  # type: ignore[assignment]

__all__ = ["only_run"]

#: No stage can have this name. It stays there: to delete it is to let two runs lock two files.
_LOCK = ".lock"


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Keeps other runs out of a folder; the system lets go of it when the process ends, however it ends.

    Where the file system knows no locks, or the folder cannot be written to, nothing is locked.

    Args:
        output: exists.

    Raises:
        ConfigError: another run has it, of this process or of another one.
    """
    try:
        descriptor = os.open(output / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError:
        yield
        return
    try:
        _lock(descriptor, output)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, output: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"another run is using {output}: wait for it, or choose another output folder"
        ) from None
    except OSError:  # a file system without locks
        return
