# SPDX-License-Identifier: MIT
"""FASTFORMERS_ISA forces the kernels that run, or fails at once; it is never quietly ignored."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastformers import kernels

# What ran is asked of the core after the fact, not of the setting that should have caused it.
RUN_A_LINEAR = """
import numpy as np
from fastformers import kernels
weight = np.ones((5, 7), dtype=np.float32)
kernels.linear(np.ones((3, 7), dtype=np.float32), kernels.pack(weight))
print(kernels.last_used_isa())
"""


def run_forced(isa: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FASTFORMERS_ISA": isa}
    return subprocess.run(
        [sys.executable, "-c", RUN_A_LINEAR], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("isa", kernels.available_isas())
def test_forced_instruction_set_is_the_one_that_ran(isa: str) -> None:
    answer = run_forced(isa)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == [isa]


@pytest.mark.parametrize("isa", ["mmx", "AVX2", "avx512_vnni"])
def test_unknown_instruction_set_fails_and_lists_the_choices(isa: str) -> None:
    answer = run_forced(isa)
    assert answer.returncode != 0
    assert all(choice in answer.stderr for choice in kernels.available_isas())


def test_empty_name_counts_as_unset() -> None:
    assert run_forced("").stdout.split() == [kernels.available_isas()[0]]


def test_this_run_uses_the_instruction_set_that_it_was_told_to() -> None:
    told = os.environ.get("FASTFORMERS_ISA")
    if told is None:
        pytest.skip("FASTFORMERS_ISA is not set: the best path was detected")
    exec(RUN_A_LINEAR, {})
    assert kernels.last_used_isa() == told
