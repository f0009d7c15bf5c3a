# SPDX-License-Identifier: MIT
"""Further JSON files of an artefact, beside those that its format names: what a model answers, how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastformers.errors import ConfigError
from fastformers.files.fields import MANIFEST
from fastformers.files.plain_file import is_bare_name
from fastformers.files.strict_json import write_json

__all__ = ["ExtraFiles", "write_extra_files"]

ExtraFiles = Mapping[str, Mapping[str, Any]]


def write_extra_files(folder: Path, extra: ExtraFiles) -> None:
    """Writes JSON files into a folder that holds all others already.

    Args:
        folder: the folder.
        extra: content by name, e.g. ``{"task.json": {...}}``.

    Raises:
        ConfigError: a name is no plain name of a ``.json`` file, or is taken; a value is none of JSON's.
    """
    for name, content in extra.items():
        if not is_bare_name(name) or not name.endswith(".json"):
            raise ConfigError(f"extra file {name!r}: must be the plain name of a .json file")
        if name == MANIFEST or (folder / name).exists():
            raise ConfigError(f"extra file {name!r}: the artefact has a file of that name itself")
        write_json(folder / name, content)
