# SPDX-License-Identifier: MIT
"""Fixtures of another folder's conftest.py, which pytest itself gives only to the tests below that folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def fixtures_of(folder: str) -> ModuleType:
    """Runs ``tests/<folder>/conftest.py`` as a module of its own."""
    path = Path(__file__).parent.parent / folder / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"fixtures_of_{folder}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
