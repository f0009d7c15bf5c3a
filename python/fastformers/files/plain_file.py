# SPDX-License-Identifier: MIT
"""Opens plain files and nothing else: no link that leads elsewhere, no pipe that blocks, no device that never ends.

A folder is opened once and its files by bare name within it, so that all of them are of one version of the folder even
while another process replaces it (``replaced_folder``).
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
from pathlib import Path
from types import TracebackType

from fastformers.errors import FormatError

__all__ = ["OpenFolder", "is_bare_name", "read_plain_file", "refused_link"]

_BARE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_bare_name(value: object) -> bool:
    """Whether a value is a file name without a folder, safe to open inside one."""
    return isinstance(value, str) and _BARE_NAME.fullmatch(value) is not None


class OpenFolder:
    """A folder whose files are opened by bare name; a context manager.

    Args:
        path: the folder.

    Raises:
        FormatError: it is no folder, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} is not a folder that can be read: {_reason(error)}") from error

    def __enter__(self) -> OpenFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def was_replaced(self) -> bool:
        """Whether another folder stands at the path by now."""
        try:
            now = os.stat(self._path)
        except OSError:
            return True
        opened = os.fstat(self._descriptor)
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino)

    def map(self, name: str) -> memoryview:
        """Maps a file into memory, read-only: pages are read when they are looked at, nothing is copied.

        Raises:
            FormatError: it is missing, empty, or no plain file with one name.
        """
        descriptor = _open(name, self._descriptor)
        try:
            if os.fstat(descriptor).st_size == 0:
                raise FormatError(f"{name} is empty: the artefact is incomplete")
            return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise FormatError(f"{name} cannot be read: {_reason(error)}") from error
        finally:
            os.close(descriptor)

    def read(self, name: str, most_bytes: int) -> bytes:
        """Reads a file of at most ``most_bytes``.

        Raises:
            FormatError: it is missing, larger, or no plain file with one name.
        """
        return _read(name, most_bytes, self._descriptor)


def read_plain_file(path: Path, most_bytes: int) -> bytes:
    """Reads a file of at most ``most_bytes`` whose last part is no link.

    Raises:
        FormatError: it is missing, larger, or no plain file with one name.
    """
    return _read(str(path), most_bytes, None)


def refused_link(name: str) -> FormatError:
    """The error for a symbolic link where a plain file must be; a hub's cache is full of them."""
    return FormatError(
        f"{name} is a symbolic link, which may lead out of its folder; copy it, or the folder, to get plain files: "
        "cp -rL"
    )


def _read(name: str, most_bytes: int, folder: int | None) -> bytes:
    descriptor = _open(name, folder)
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > most_bytes:
            raise FormatError(f"{Path(name).name} is larger than {most_bytes} bytes")
        return file.read(most_bytes + 1)


def _open(name: str, folder: int | None) -> int:
    """Opens a plain file and returns its descriptor; looks at what was opened, not at what the name said before."""
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:  # of O_NOFOLLOW
            raise refused_link(name) from error
        raise FormatError(
            f"{name} is missing or not a plain file ({_reason(error)}): the artefact is incomplete"
        ) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FormatError(f"{name} is missing or not a plain file: the artefact is incomplete")
    if status.st_nlink > 1:
        os.close(descriptor)
        raise FormatError(
            f"{name} is a hard link, which may lead out of its folder; copy the folder to get plain files: cp -r"
        )
    return descriptor


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
