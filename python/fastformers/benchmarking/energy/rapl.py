# SPDX-License-Identifier: MIT
"""Energy counters of the processor (RAPL), as Linux shows them under /sys/class/powercap.

Zones overlap: ``core`` and ``uncore`` are parts of ``package``, and ``psys`` is the whole board. Counted are the
packages and the memory (``dram``, which no package contains). Each counter runs up to its range and begins again at
0; a turn takes some minutes at full load, so whoever reads more seldom than that loses turns: the meter polls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastformers.benchmarking.energy.reading import UnavailableError

__all__ = ["SYSFS", "RaplSource"]

SYSFS = Path("/sys")
_MICROJOULES = 1e-6
_PERMISSION = (
    "the processor's energy counters may not be read by this user; to allow it: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
)
_ABSENT = "no energy counters in {folder}: virtual machines and many containers hide them"


class RaplSource:
    """Joules of all packages and of their memory.

    Args:
        sysfs: where sysfs is mounted.

    Raises:
        UnavailableError: there are no counters, or they may not be read.
    """

    polled = True

    def __init__(self, sysfs: Path = SYSFS) -> None:
        folder = sysfs / "class" / "powercap"
        self._counters = [_Counter(zone, name) for zone, name in _zones(folder) if _is_counted(name)]
        if not any(counter.name.startswith("package") for counter in self._counters):
            raise UnavailableError(_ABSENT.format(folder=folder))

    def joules(self) -> float:
        """Returns joules since the source was made."""
        return sum(counter.advance() for counter in self._counters) * _MICROJOULES

    def detail(self) -> str:
        """Names the zones."""
        zones = " + ".join(sorted(counter.name for counter in self._counters))
        return f"counters of the whole machine: {zones}"


class _Counter:
    """One zone's counter, made to run on beyond its range."""

    def __init__(self, zone: Path, name: str) -> None:
        self.name = name
        self._file = zone / "energy_uj"
        self._range = _number(zone / "max_energy_range_uj")
        self._last = self._now()
        self._passed = 0

    def _now(self) -> int:
        return _number(self._file)

    def advance(self) -> int:
        """Returns microjoules since the counter was first read; correct when it began anew at most once since then."""
        now = self._now()
        self._passed += now - self._last if now >= self._last else now - self._last + self._range
        self._last = now
        return self._passed


def _zones(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yields all zones and their parts, which lie side by side here; ``intel-rapl-mmio`` would show some of them twice.

    Processors of AMD bear the same names.
    """
    for name in sorted(folder.glob("intel-rapl:*/name")):
        yield name.parent, _read(name)


def _is_counted(name: str) -> bool:
    return name.startswith("package-") or name == "dram"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise UnavailableError(_PERMISSION) from error
    except OSError as error:
        raise UnavailableError(f"{file} cannot be read: {error.strerror}") from error


def _number(file: Path) -> int:
    try:
        return int(_read(file))
    except ValueError as error:
        raise UnavailableError(f"{file} holds no whole number") from error
