# SPDX-License-Identifier: MIT
"""Imports an optional dependency where it is used, or says which extra installs it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from fastformers.errors import MissingExtraError

DISTRIBUTION = "fastformers-cpu"

__all__ = ["DISTRIBUTION", "how_to_install", "require"]


def how_to_install(extra: str) -> str:
    """Returns the command that installs an extra of this distribution, for messages."""
    command = "python -m pip install"
    return f"{command} '{DISTRIBUTION}[{extra}]' (from a clone: {command} '.[{extra}]')"


def require(module: str, extra: str, purpose: str = "") -> ModuleType:
    """Imports an optional module, or raises an error that names the extra to install.

    Args:
        module: dotted name of the module, e.g. ``"torch"``.
        extra: extra of this distribution that installs it, e.g. ``"torch"``.
        purpose: what needs it, used as the subject of the message, e.g. ``"quantize_"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module's top-level package is not installed. An import that fails inside an
            installed package is passed on unchanged, because installing the extra again would not cure it.

    Example:
        >>> require("json", "torch").__name__
        'json'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        subject = purpose or "this"
        raise MissingExtraError(
            f"{subject} needs {module}, which is not installed: {how_to_install(extra)}", name=error.name
        ) from error
