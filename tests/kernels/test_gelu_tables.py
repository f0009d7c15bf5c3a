# SPDX-License-Identifier: MIT
"""csrc/kernels/gelu_tables.h is what tools/make_gelu_tables.py writes: nobody edited it by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NUMBER = re.compile(r"-?\d\.\d{9}e[+-]\d\df")


@pytest.fixture(scope="module")
def regenerated(repository: Path) -> str:
    command = [sys.executable, str(repository / "tools" / "make_gelu_tables.py")]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def committed(repository: Path) -> str:
    return (repository / "csrc" / "kernels" / "gelu_tables.h").read_text()


def _coefficients(header: str) -> np.ndarray:
    return np.array([float(number.removesuffix("f")) for number in NUMBER.findall(header)], np.float64)


def test_text_around_the_coefficients_is_the_same(regenerated: str, committed: str) -> None:
    assert NUMBER.sub("<number>", regenerated) == NUMBER.sub("<number>", committed)


def test_coefficients_are_the_same(regenerated: str, committed: str) -> None:
    """To one unit in the last place: the last bit of a least squares fit depends on NumPy's LAPACK."""
    ours, theirs = _coefficients(committed), _coefficients(regenerated)
    assert ours.size == theirs.size >= 100
    assert np.all(np.abs(ours - theirs) <= np.spacing(np.abs(ours).astype(np.float32)))
