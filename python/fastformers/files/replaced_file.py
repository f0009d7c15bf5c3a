# SPDX-License-Identifier: MIT
"""Writes a file beside its final place and moves it there in one step: nobody sees it half-written."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

__all__ = ["half_written", "replace_file"]


def replace_file(target: Path, content: bytes) -> None:
    """Writes a file, or leaves what was there when that fails.

    Args:
        target: where the file is to be; its folder must exist.
        content: all of it.

    Raises:
        OSError: the folder does not exist or cannot be written to.
    """
    beside = target.with_name(f".{target.name}-{secrets.token_hex(6)}")
    try:
        beside.write_bytes(content)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def half_written(target: Path) -> list[Path]:
    """Returns what processes that were killed inside :func:`replace_file` left beside a file."""
    name = re.compile(rf"\.{re.escape(target.name)}-[0-9a-f]{{12}}")
    return [path for path in target.parent.iterdir() if name.fullmatch(path.name)]
