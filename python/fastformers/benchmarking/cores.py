# SPDX-License-Identifier: MIT
"""Cores to measure on: no more threads than there are, for they would wait for each other, and one on each."""

from __future__ import annotations

import os
from pathlib import Path

from fastformers import kernels
from fastformers.benchmarking.wording import counted
from fastformers.errors import ConfigError

__all__ = ["check_cores", "cpus_by_core"]

_CPUS = Path("/sys/devices/system/cpu")


def cpus_by_core(cpus_folder: Path = _CPUS) -> list[int]:
    """Logical CPUs that this process may run on, in the order to pin threads to: one of each core before any second.

    Engines pin their instances in this order. Where the hardware threads of a core are CPUs 0 and 1, the first two
    numbers would be one core.

    Args:
        cpus_folder: where sysfs describes CPUs; one whose siblings cannot be read counts as a core.
    """
    seen: set[str] = set()
    firsts: list[int] = []
    others: list[int] = []
    for cpu in sorted(os.sched_getaffinity(0)):
        try:
            core = (cpus_folder / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(
                encoding="ascii"
            )
        except OSError:
            core = str(cpu)
        (others if core in seen else firsts).append(cpu)
        seen.add(core)
    return firsts + others


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
