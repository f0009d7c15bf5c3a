# SPDX-License-Identifier: MIT
"""The meter: picks the best method there is, reads it over a ``with`` block, and never raises for want of a counter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Literal, get_args

from fastformers.benchmarking.energy.cpu_time import PROC
from fastformers.benchmarking.energy.nvml import NvmlSource
from fastformers.benchmarking.energy.rapl import SYSFS, RaplSource
from fastformers.benchmarking.energy.reading import EnergyReading, Source, UnavailableError
from fastformers.benchmarking.energy.tdp import TdpSource
from fastformers.errors import ConfigError

__all__ = ["EnergyMeter", "Method", "energy_meter"]

Method = Literal["auto", "rapl", "nvml", "estimate:tdp", "off"]

#: What "auto" tries, best first: GPUs are counted only when asked for, for they do not compute here.
_AUTO: tuple[Method, ...] = ("rapl", "estimate:tdp")
_POLL_SECONDS = 30.0
_UNAVAILABLE = "unavailable"


class EnergyMeter:
    """Energy of a ``with`` block; made by :func:`energy_meter`.

    Args:
        sources: method -> what makes its source, in the order to try.
        poll_seconds: how often a counter that turns over is read meanwhile.
    """

    def __init__(
        self, sources: Mapping[str, Callable[[], Source]], *, poll_seconds: float = _POLL_SECONDS
    ) -> None:
        self._sources = sources
        self._poll_seconds = poll_seconds
        self._reading: EnergyReading | None = None

    @property
    def reading(self) -> EnergyReading:
        """The block's energy, once it has ended.

        Raises:
            ConfigError: the block has not ended.
        """
        if self._reading is None:
            raise ConfigError("the meter has no reading yet: read it after the with block")
        return self._reading

    def __enter__(self) -> EnergyMeter:
        """Begins to count."""
        self._reading = None
        self._method, self._source, self._reasons = _first_that_works(self._sources)
        self._lock, self._ended = Lock(), Event()
        self._poller: Thread | None = None
        if self._source is not None and self._source.polled:
            self._poller = Thread(target=self._poll, args=(self._source,), daemon=True)
            self._poller.start()
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends counting; :attr:`reading` can be read."""
        seconds = time.perf_counter() - self._begun
        self._reading = self._read(seconds)
        self._ended.set()
        if self._poller is not None:
            self._poller.join()

    def _read(self, seconds: float) -> EnergyReading:
        if self._source is not None:
            try:
                with self._lock:
                    joules, detail = self._source.joules(), self._source.detail()
                return EnergyReading(joules, seconds, self._method, "; ".join((detail, *self._reasons)))
            except UnavailableError as error:
                self._reasons.append(str(error))
        return EnergyReading(None, seconds, _UNAVAILABLE, "; ".join(self._reasons))

    def _poll(self, source: Source) -> None:
        while not self._ended.wait(self._poll_seconds):
            try:
                with self._lock:
                    source.joules()
            except UnavailableError:  # told by the last reading
                return


def energy_meter(
    method: Method | str = "auto",
    *,
    sysfs: Path = SYSFS,
    proc: Path = PROC,
    watts_per_core: float | None = None,
) -> EnergyMeter:
    """Makes a meter of the energy that a block of code takes.

    Args:
        method: ``"auto"`` takes the processor's counters (``"rapl"``) where they can be read, else the estimate.
            ``"rapl"``: packages and memory of the whole machine, other programs included. ``"nvml"``: GPUs only.
            ``"estimate:tdp"``: processor time of this process and its children times the power of a core, for
            machines that hide the counters. ``"off"``: nothing is read.
        sysfs: where sysfs is mounted.
        proc: where procfs is mounted.
        watts_per_core: power of a busy core for the estimate, instead of the table's.

    Returns:
        A context manager; its ``reading`` names the method, or ``"unavailable"`` with the reason and ``joules`` None.

    Raises:
        ConfigError: an unknown method, or ``watts_per_core`` is not positive.

    Example:
        >>> with energy_meter() as meter:
        ...     total = sum(range(1000))
        >>> meter.reading.method in ("rapl", "estimate:tdp", "unavailable")
        True
    """
    if method not in get_args(Method):
        raise ConfigError(f"energy method is {method!r}; allowed: {', '.join(get_args(Method))}")
    if watts_per_core is not None and not watts_per_core > 0:
        raise ConfigError(f"watts_per_core is {watts_per_core!r}; allowed: a number above 0")
    makers: dict[str, Callable[[], Source]] = {
        "rapl": lambda: RaplSource(sysfs),
        "nvml": NvmlSource,
        "estimate:tdp": lambda: TdpSource(proc, watts_per_core),
        "off": _not_asked_for,
    }
    return EnergyMeter({name: makers[name] for name in (_AUTO if method == "auto" else (method,))})


def _not_asked_for() -> Source:
    raise UnavailableError("energy was not asked for")


def _first_that_works(
    sources: Mapping[str, Callable[[], Source]],
) -> tuple[str, Source | None, list[str]]:
    """Returns method and source of the first that works, and why those before it do not."""
    reasons: list[str] = []
    for method, make in sources.items():
        try:
            return method, make(), reasons
        except UnavailableError as error:
            reasons.append(str(error))
    return _UNAVAILABLE, None, reasons
