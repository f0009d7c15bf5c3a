# SPDX-License-Identifier: MIT
"""Fixtures that every test may use, and the one line that says what was tested on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: tests use no network

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_report_header() -> str:
    from fastformers import kernels

    choices = ", ".join(kernels.available_isas())
    return f"fastformers: kernels {kernels.active_isa()} of {choices}; {kernels.num_threads()} threads"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of data sets too large for the repository; a test that needs it is skipped without it."""
    folder = Path(os.environ.get("FASTFORMERS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set FASTFORMERS_DATA to their folder")
    return folder
