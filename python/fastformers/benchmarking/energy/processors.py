# SPDX-License-Identifier: MIT
"""Power of server processors by their CPUID: what the largest common model of each generation may draw.

A virtual machine tells the generation of its processor but not the model, so the largest is assumed, and said so.
Watts are the makers' thermal design power; a core's share is that with all cores busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "ProcessorPower", "power_of", "read_processor"]


@dataclass(frozen=True)
class Processor:
    """What /proc/cpuinfo says of the first processor.

    Attributes:
        vendor: as in CPUID, e.g. ``"AuthenticAMD"``.
        family: CPUID family.
        model: CPUID model.
        name: marketing name; may be cut short in virtual machines.
        threads_per_core: hardware threads of a core, as far as they are shown.
    """

    vendor: str
    family: int
    model: int
    name: str
    threads_per_core: float


@dataclass(frozen=True)
class ProcessorPower:
    """One row of the table.

    Attributes:
        example: model that the figures are of.
        watts: thermal design power of the package.
        cores: cores of the package.
    """

    example: str
    watts: float
    cores: int

    @property
    def watts_per_core(self) -> float:
        """Share of one core."""
        return self.watts / self.cores


_INTEL, _AMD = "GenuineIntel", "AuthenticAMD"
_POWER: dict[tuple[str, int, int], ProcessorPower] = {
    (_INTEL, 6, 63): ProcessorPower("Xeon E5-2699 v3 (Haswell)", 145, 18),
    (_INTEL, 6, 79): ProcessorPower("Xeon E5-2699 v4 (Broadwell)", 145, 22),
    (_INTEL, 6, 85): ProcessorPower("Xeon Platinum 8280 (Skylake to Cooper Lake)", 205, 28),
    (_INTEL, 6, 106): ProcessorPower("Xeon Platinum 8380 (Ice Lake)", 270, 40),
    (_INTEL, 6, 143): ProcessorPower("Xeon Platinum 8480+ (Sapphire Rapids)", 350, 56),
    (_INTEL, 6, 207): ProcessorPower("Xeon Platinum 8592+ (Emerald Rapids)", 350, 64),
    (_INTEL, 6, 173): ProcessorPower("Xeon 6980P (Granite Rapids)", 500, 128),
    (_AMD, 23, 1): ProcessorPower("EPYC 7601 (Zen 1)", 180, 32),
    (_AMD, 23, 49): ProcessorPower("EPYC 7742 (Zen 2)", 225, 64),
    (_AMD, 25, 1): ProcessorPower("EPYC 7763 (Zen 3)", 280, 64),
    (_AMD, 25, 17): ProcessorPower("EPYC 9654 (Zen 4)", 360, 96),
    (_AMD, 25, 160): ProcessorPower("EPYC 9754 (Zen 4c)", 360, 128),
    (_AMD, 26, 2): ProcessorPower("EPYC 9755 (Zen 5)", 500, 128),
    (_AMD, 26, 17): ProcessorPower("EPYC 9965 (Zen 5c)", 500, 192),
}


def power_of(processor: Processor) -> ProcessorPower | None:
    """Returns the table's row for a processor, ``None`` when its generation is not in it."""
    return _POWER.get((processor.vendor, processor.family, processor.model))


def read_processor(cpuinfo: Path) -> Processor | None:
    """Reads the first processor of ``/proc/cpuinfo``; ``None`` when there is no x86 processor in it."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return None
    lines = (line.partition(":") for line in first.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    try:
        return Processor(
            vendor=fields["vendor_id"],
            family=int(fields["cpu family"]),
            model=int(fields["model"]),
            name=fields.get("model name", ""),
            threads_per_core=max(1.0, int(fields.get("siblings", 1)) / int(fields.get("cpu cores", 1))),
        )
    except (KeyError, ValueError, ZeroDivisionError):
        return None
