# SPDX-License-Identifier: MIT
"""A machine in a few words, as every report prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastformers.counted import counted

__all__ = ["processor"]


def processor(machine: Mapping[str, Any]) -> str:
    """Names a machine's processor and its cores, as far as they are known.

    Args:
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found, or its JSON.
    """
    cpu = machine.get("cpu") or {}
    cores = cpu.get("physical_cores")
    return str(cpu.get("model", "unknown CPU")) + ("" if cores is None else f", {counted(cores, 'core')}")
