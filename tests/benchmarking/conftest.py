# SPDX-License-Identifier: MIT
"""Modules of bench/, which is not installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch_threads

one_torch_thread = torch_threads.one_torch_thread


@pytest.fixture
def bench_module(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """``bench_module("kernels.results")`` imports bench/kernels/results.py."""
    monkeypatch.syspath_prepend(str(repository))
    return lambda name: importlib.import_module(f"bench.{name}")
