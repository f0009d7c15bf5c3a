# SPDX-License-Identifier: MIT
"""What an energy meter says, and what a source of energy readings must offer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

__all__ = ["EnergyReading", "Source", "UnavailableError"]


@dataclass(frozen=True)
class EnergyReading:
    """Energy of an interval and how it was found.

    Attributes:
        joules: energy; ``None`` where it is unavailable.
        seconds: length of the interval.
        method: ``"rapl"``, ``"nvml"``, ``"estimate:tdp"`` or ``"unavailable"``.
        detail: what was read or assumed, or why there is nothing; for people.
    """

    joules: float | None
    seconds: float
    method: str
    detail: str

    @property
    def watts(self) -> float | None:
        """Mean power of the interval; ``None`` where the energy is unavailable or the interval is empty."""
        return None if self.joules is None or self.seconds <= 0 else self.joules / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """Returns energy, power, method and what it rests on in one line."""
        if self.joules is None:
            return f"energy {self.method}: {self.detail}"
        power = "" if self.watts is None else f", {self.watts:.1f} W"
        return f"{self.joules:.3g} J ({self.method}{power}; {self.detail})"


class Source(Protocol):
    """Something that counts joules from an arbitrary beginning.

    Attributes:
        polled: it must be read every half minute, or it loses count.
    """

    polled: bool

    def joules(self) -> float:
        """Returns joules since the source was made; never less than before."""

    def detail(self) -> str:
        """Says what is counted or assumed, for people."""


class UnavailableError(Exception):
    """A method does not work on this machine; the message says why and what to do."""
