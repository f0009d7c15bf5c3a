# SPDX-License-Identifier: MIT
"""Locks a folder for one process (``flock``): the system takes the lock away when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["lock", "open_folder"]


def open_folder(folder: Path) -> int:
    """Opens a folder to be locked; closing the descriptor gives the lock back.

    Raises:
        OSError: there is none, or it is a link.
    """
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def lock(descriptor: int) -> bool | None:
    """Returns whether the lock was free and is ours now; ``None`` where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
