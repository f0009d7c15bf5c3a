# SPDX-License-Identifier: MIT
"""An estimate for machines without counters: time that cores were busy, times the power of a core.

Every assumption is part of the answer. What the estimate leaves out (memory, idle cores, power supply, fans) makes it
low; assuming that a busy core draws its whole share of the package's power makes it high.
"""

from __future__ import annotations

from pathlib import Path

from fastformers.benchmarking.energy.cpu_time import PROC, family_cpu_seconds
from fastformers.benchmarking.energy.processors import power_of, read_processor
from fastformers.benchmarking.energy.reading import UnavailableError

__all__ = ["TdpSource"]

_UNKNOWN = "no power is known for this processor ({name}); give watts_per_core to have an estimate"


class TdpSource:
    """Joules by processor time of this process and its children.

    Args:
        proc: where the kernel shows the processor and processes.
        watts_per_core: power of a busy core; that of the table when ``None``.

    Raises:
        UnavailableError: the processor is not in the table.
    """

    polled = False

    def __init__(self, proc: Path = PROC, watts_per_core: float | None = None) -> None:
        processor = read_processor(proc / "cpuinfo")
        power = None if processor is None else power_of(processor)
        if watts_per_core is not None:
            self._watts, self._assumed = watts_per_core, "as given"
        elif power is not None:
            self._watts = power.watts_per_core
            self._assumed = f"TDP of {power.example} assumed: {power.watts:g} W for {power.cores} cores"
        else:
            raise UnavailableError(_UNKNOWN.format(name=processor.name if processor else "unknown"))
        self._threads_per_core = processor.threads_per_core if processor else 1.0
        self._proc = proc
        self._first = family_cpu_seconds(proc)

    def joules(self) -> float:
        """Returns joules since the source was made."""
        return self._core_seconds() * self._watts

    def detail(self) -> str:
        """States the time counted and the power assumed."""
        return (
            f"{self._core_seconds():.3g} s of busy cores of this process and its children x "
            f"{self._watts:.3g} W a core, {self._assumed}; memory and idle cores not counted"
        )

    def _core_seconds(self) -> float:
        return (family_cpu_seconds(self._proc) - self._first) / self._threads_per_core
