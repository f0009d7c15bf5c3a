# SPDX-License-Identifier: MIT
"""Numbers with their nouns, and a machine in a few words, as every report prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["counted", "processor"]


def counted(number: int, noun: str) -> str:
    """Writes a number with its noun.

    Example:
        >>> counted(1, "core"), counted(1024, "text")
        ('1 core', '1,024 texts')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def processor(machine: Mapping[str, Any]) -> str:
    """Names a machine's processor and its cores, as far as they are known.

    Args:
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found, or its JSON.
    """
    cpu = machine.get("cpu") or {}
    cores = cpu.get("physical_cores")
    return str(cpu.get("model", "unknown CPU")) + ("" if cores is None else f", {counted(cores, 'core')}")
