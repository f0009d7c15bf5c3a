# SPDX-License-Identifier: MIT
"""Options of ``python -m pytest bench/kernels``."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--full``: every shape and row count instead of the quick subset."""
    parser.addoption("--full", action="store_true", help="time every shape of bench/shapes.csv at every M")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of cells that only ``--full`` runs."""
    config.addinivalue_line("markers", "full_table: a cell that is timed with --full only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the cells of the full table unless ``--full`` is given."""
    if config.getoption("--full"):
        return
    deselected = [item for item in items if item.get_closest_marker("full_table")]
    items[:] = [item for item in items if not item.get_closest_marker("full_table")]
    config.hook.pytest_deselected(items=deselected)
