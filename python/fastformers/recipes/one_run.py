# SPDX-License-Identifier: MIT
"""One run at a time in an output folder: two would replace each other's stages, and note over each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastformers.errors import ConfigError
from fastformers.files.folder_lock import lock, open_folder

__all__ = ["only_run"]


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Keeps other runs out of a folder; the system lets go of it when the process ends, however it ends.

    Where the file system knows no locks, nothing is locked.

    Args:
        output: exists.

    Raises:
        ConfigError: another run has it, of this process or of another one.
    """
    descriptor = open_folder(output.resolve())
    try:
        if lock(descriptor) is False:
            raise ConfigError(f"another run is using {output}: wait for it, or choose another output folder")
        yield
    finally:
        os.close(descriptor)
