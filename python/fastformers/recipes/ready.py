# SPDX-License-Identifier: MIT
"""The recipes that come with the package, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastformers.errors import ConfigError

__all__ = ["find_recipe", "ready_recipes"]


def ready_recipes() -> dict[str, Path]:
    """Returns the files of the recipes that come with the package, by name."""
    folder = Path(str(files("fastformers") / "data" / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(path: str | Path) -> Path:
    """Returns the file of a recipe.

    Args:
        path: a file, or the name of a recipe that comes with the package; a file goes first.

    Raises:
        ConfigError: it is neither.
    """
    file = Path(path)
    if file.is_file():
        return file
    known = ready_recipes()
    if str(path) not in known:
        raise ConfigError(f"{path} is neither a file nor one of the ready recipes: {', '.join(known)}")
    return known[str(path)]
