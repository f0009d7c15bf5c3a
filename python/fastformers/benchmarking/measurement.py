# SPDX-License-Identifier: MIT
"""What a measurement says, as it is saved and printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from fastformers.benchmarking.cost import joules_per_100m, usd_per_100m
from fastformers.benchmarking.energy import EnergyReading
from fastformers.benchmarking.price_table import Price
from fastformers.benchmarking.profile import EngineProfile
from fastformers.benchmarking.saved_values import from_zero, positive
from fastformers.benchmarking.wording import processor
from fastformers.errors import FormatError
from fastformers.measuring import Spread

__all__ = ["NOISY", "SCHEMA", "Measurement"]

SCHEMA = "fastformers-measurement/1"
#: Relative spread above which readings are taken once more, and marked if that does not help.
NOISY = 0.10

_JOULES_PER_KWH = 3.6e6
_INDENT = 19 * " "
_Record = TypeVar("_Record", Spread, Price, EnergyReading)


@dataclass(frozen=True)
class Measurement:
    """Speed, latency, cost, energy and memory of one way to answer texts, on one machine.

    Attributes:
        subject: what was measured, for people.
        texts: number of texts given.
        texts_measured: how many of them were used: all, or an even sample over their lengths that fits the time.
        batch_size: texts of one call.
        at_once: requests that were computed at the same time: instances of an engine, else 1.
        queries: answered in the counted rounds.
        queries_per_second: texts a second: median and quartiles over the rounds.
        latency_ms: of a single text, alone, in ms: median and quartiles over the texts.
        p99_ms: time in ms that 99 % of single texts stay below.
        price: of the machine; ``None`` when none was asked for.
        utilisation: share of the paid time in which queries are answered.
        energy: of the counted rounds, and how it was found.
        peak_memory_mb: most memory of this process while it was measured, in 10^6 bytes.
        own_memory_mb: of the engine or encoder alone, in 10^6 bytes; ``None`` where it is not known.
        repeated: the rounds were taken twice, because the first spread over 10 %.
        noisy: the spread over the rounds is above 10 % all the same: do not rely on it.
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found.
        profile: where the time goes inside the engine; ``None`` when nobody asked.
    """

    subject: str
    texts: int
    texts_measured: int
    batch_size: int
    at_once: int
    queries: int
    queries_per_second: Spread
    latency_ms: Spread
    p99_ms: float
    price: Price | None
    utilisation: float
    energy: EnergyReading
    peak_memory_mb: float | None
    own_memory_mb: float | None
    repeated: bool
    noisy: bool
    machine: dict[str, Any]
    profile: EngineProfile | None = None

    @property
    def usd_per_100m(self) -> float | None:
        """US dollars of 100 million queries; ``None`` without a price."""
        if self.price is None:
            return None
        seconds = 1 / self.queries_per_second.median
        return usd_per_100m(seconds, self.price.usd_per_hour, self.utilisation)

    @property
    def joules_per_100m(self) -> float | None:
        """Joules of 100 million queries while the machine answers without a pause; ``None`` if unavailable."""
        return joules_per_100m(self.energy.joules, self.queries)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values, schema ``fastformers-measurement/1``."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "profile": None if self.profile is None else self.profile.to_dict(),
            "usd_per_100m": self.usd_per_100m,
            "joules_per_100m": self.joules_per_100m,
            "energy_method": self.energy.method,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Measurement:
        """Reads what :meth:`to_dict` gave, now or before there were profiles.

        Raises:
            FormatError: another schema, or a field that is absent or of the wrong kind.
        """
        if content.get("schema") != SCHEMA:
            raise FormatError(f"schema is {content.get('schema')!r}, must be {SCHEMA!r}")
        known = [field.name for field in fields(cls) if field.name != "profile"]
        absent = [name for name in known if name not in content]
        if absent:
            raise FormatError(f"the measurement lacks {', '.join(absent)}")
        price = content["price"]
        profile = content.get("profile")
        values = {name: content[name] for name in known}
        values |= {
            "queries_per_second": _record(Spread, content["queries_per_second"], "queries_per_second"),
            "latency_ms": _record(Spread, content["latency_ms"], "latency_ms"),
            "price": None if price is None else _record(Price, price, "price"),
            "energy": _record(EnergyReading, content["energy"], "energy"),
            "profile": None if profile is None else EngineProfile.from_dict(profile),
        }
        found = cls(**values)
        found._check()
        return found

    def _check(self) -> None:
        """Refuses figures that everything else is computed from, or printed of, when they are none."""
        for name in ("queries", "utilisation", "p99_ms", "texts", "texts_measured", "batch_size", "at_once"):
            positive(getattr(self, name), name)
        positive(self.queries_per_second.median, "queries_per_second.median")
        for name, value in self._figures_from_zero():
            from_zero(value, name)
        if not isinstance(self.machine, Mapping):
            raise FormatError(f"machine is {self.machine!r}, must be an object")

    def _figures_from_zero(self) -> Iterator[tuple[str, Any]]:
        """Those that may be 0, with their names; none that are absent."""
        for name, record in (
            ("queries_per_second", self.queries_per_second),
            ("latency_ms", self.latency_ms),
        ):
            yield from ((f"{name}.{field}", value) for field, value in record.as_dict().items())
        optional: dict[str, Any] = {
            "peak_memory_mb": self.peak_memory_mb,
            "own_memory_mb": self.own_memory_mb,
            "price.usd_per_hour": None if self.price is None else self.price.usd_per_hour,
            "energy.joules": self.energy.joules,
        }
        yield from ((name, value) for name, value in optional.items() if value is not None)

    def __str__(self) -> str:
        """Returns a few lines for people."""
        lines = (
            self._line_of_speed(),
            f"  a single query   {self._latency()}",
            f"  cost             {self._cost()}",
            f"  energy           {self._energy()}",
            f"  memory           {self._memory()}",
            f"  measured         {self._sample()}",
            f"  machine          {_machine(self.machine)}",
            *(() if self.profile is None else ("", str(self.profile))),
        )
        return "\n".join(lines)

    def _line_of_speed(self) -> str:
        speed = self.queries_per_second
        noise = "  NOISY: the rounds spread over 10 %, measured twice" if self.noisy else ""
        how = f"batches of {self.batch_size}" if self.batch_size > 1 else "one query a call"
        together = f", {self.at_once} at once" if self.at_once > 1 else ""
        return (
            f"{self.subject}\n"
            f"  speed            {_figure(speed.median)} queries/s ({_figure(speed.low)} to {_figure(speed.high)} "
            f"in half of {speed.count} rounds; {how}{together}){noise}"
        )

    def _latency(self) -> str:
        middle, count = _figure(self.latency_ms.median), self.latency_ms.count
        return f"p50 {middle} ms, p99 {_figure(self.p99_ms)} ms ({count:,} queries)"

    def _cost(self) -> str:
        if self.price is None or self.usd_per_100m is None:
            return "no price given (price='azure:F16s_v2', or US dollars an hour)"
        busy = f", {100 * self.utilisation:g} % utilised" if self.utilisation < 1 else ""
        return f"{_figure(self.usd_per_100m)} USD for 100 million queries at {self.price}{busy}"

    def _energy(self) -> str:
        joules = self.joules_per_100m
        if joules is None:
            return f"unavailable: {self.energy.detail}"
        figures = f"{_figure(joules)} J ({_figure(joules / _JOULES_PER_KWH)} kWh) for 100 million queries"
        return f"{figures}, {self.energy.method}:\n{_INDENT}{self.energy.detail}"

    def _memory(self) -> str:
        own = "" if self.own_memory_mb is None else f"{_figure(self.own_memory_mb)} MB its own, "
        peak = "unknown" if self.peak_memory_mb is None else f"{_figure(self.peak_memory_mb)} MB"
        return f"{own}{peak} at most in the whole process"

    def _sample(self) -> str:
        share = "all" if self.texts_measured == self.texts else f"{self.texts_measured:,} of"
        again = ", rounds taken twice" if self.repeated else ""
        return f"{share} {self.texts:,} texts, {self.queries:,} queries counted{again}"


def _record(kind: type[_Record], content: Any, name: str) -> _Record:
    try:
        return kind(**content)
    except TypeError as error:
        raise FormatError(f"{name} is damaged: {error}") from error


def _machine(machine: Mapping[str, Any]) -> str:
    cpu = machine.get("cpu")
    if not isinstance(cpu, Mapping):
        return str(machine.get("platform", "unknown"))
    return f"{processor(machine)}, kernels {cpu.get('active_isa')}"


def _figure(value: float) -> str:
    """Three digits that count, with thousands marked."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
