# SPDX-License-Identifier: MIT
"""Refuses to measure with more threads than there are cores: they would wait for each other, and the figures lie."""

from __future__ import annotations

from fastformers import kernels
from fastformers.counted import counted
from fastformers.errors import ConfigError

__all__ = ["check_cores"]


def check_cores(name: str, value: int) -> None:
    """Checks that so many threads have a core each.

    Args:
        name: what was asked for.
        value: how many threads that is.

    Raises:
        ConfigError: more than this process has cores.
    """
    cores = kernels.default_threads()
    if value > cores:
        raise ConfigError(
            f"{name} is {value}, and this process has {counted(cores, 'core')} "
            f"(`fastformers doctor` says why): ask for at most {cores}"
        )
