# SPDX-License-Identifier: MIT
"""``measure``: speed, latency, cost, energy and memory of anything that answers texts, in one call.

All rounds answer the same texts, so that what differs between rounds is the machine and not the mix of lengths. A
machine that is not quiet shows in their spread: then they are taken once more, and marked when that does not help.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from fastformers.benchmarking.cost import checked_utilisation
from fastformers.benchmarking.energy import EnergyMeter, EnergyReading, energy_meter
from fastformers.benchmarking.machine import machine_facts
from fastformers.benchmarking.measurement import NOISY, Measurement
from fastformers.benchmarking.price_table import price_of
from fastformers.benchmarking.profile import engine_profile
from fastformers.benchmarking.profiled_calls import profiled_calls
from fastformers.benchmarking.subjects import Subject, holds_nan, is_not_run, subject_of
from fastformers.errors import ConfigError, FastformersError, NonFiniteError
from fastformers.measuring import Spread, percentile, spread
from fastformers.runtime.engine import Engine
from fastformers.span_text import SpanText
from fastformers.tokenization import Text

__all__ = ["measure"]

_SHORT = 60
_LEAST_ROUNDS = 3
_LEAST_WARM_UP = 3
_MOST_TEXTS = 100_000  # of a round, for callables that take next to no time
_CLOCK_STEP = 1e-9
_LEAST_SINGLE_QUERIES, _MOST_SINGLE_QUERIES = 20, 1000
_BYTES_PER_MB, _BYTES_PER_KB = 1e6, 1024
_PROCESS = Path("/proc/self")


def measure(
    run: Any,
    texts: Sequence[Text],
    *,
    tokenizer: Any | None = None,
    price: str | float | None = None,
    utilisation: float = 1.0,
    rounds: int = 5,
    seconds: float = 10.0,
    batch_size: int = 1,
    warmup: float = 1.0,
    energy: str = "auto",
    profile: bool = False,
) -> Measurement:
    """Measures how fast something answers texts, and what that costs.

    Before anything is counted, the texts are answered for ``warmup`` seconds and then once more for a whole round; all
    those answers are looked through for NaN.

    Args:
        run: what answers: an ``ff.Engine`` (its instances work at once, one text a request); a model or compiled
            encoder, with ``tokenizer``; the folder of a compiled model, which an engine is made of for the time; or
            any callable of one text (``batch_size`` 1) or of a list of texts.
        texts: strings, pairs of strings as tuples, or :class:`fastformers.SpanText` of an engine; where they take
            longer than ``seconds`` together, an even sample over their lengths is used.
        tokenizer: of transformers; ``run`` is then called with its tensors.
        price: of the machine: a name of ``fastformers cost --list`` or US dollars an hour; ``None`` states no cost.
        utilisation: share of the paid time in which queries are answered, in (0, 1].
        rounds: how many the speed's median and quartiles are over; at least 3.
        seconds: that the counted rounds may take together, about.
        batch_size: texts of one call.
        warmup: seconds before the first round; at least three calls are made.
        energy: a method of :func:`fastformers.benchmarking.energy.energy_meter`.
        profile: also say where the time of a text goes, for each layer and operation, and what share of this machine's
            limit is reached; of engines, compiled encoders and their folders. Takes about ``seconds / 2`` more.

    Returns:
        The measurement; print it, or save its ``to_dict()`` for ``fastformers cost``.

    Raises:
        ConfigError: no texts, a number out of range, an unknown price, or ``run`` raised an error that is not ours
            (the text is named), or answers with a coroutine, a generator or a future that nobody waits for; ``profile``
            of something that is no engine.
        NonFiniteError: an answer holds NaN.

    Example:
        >>> print(ff.measure(engine, texts, price="azure:F16s_v2"))
    """
    _check(texts, rounds, seconds, batch_size, warmup)
    if tokenizer is not None and isinstance(run, str | Path | Engine):
        raise ConfigError("tokenizer has no effect: an engine answers texts with its own; leave it out")
    if isinstance(run, str | Path):
        if not Path(run).is_dir():
            raise ConfigError(f"run is {str(run)!r}, which is no folder; allowed: that of a compiled model")
        with Engine.from_pretrained(run) as engine:
            return measure(
                engine,
                texts,
                price=price,
                utilisation=utilisation,
                rounds=rounds,
                seconds=seconds,
                batch_size=batch_size,
                warmup=warmup,
                energy=energy,
                profile=profile,
            )
    checked_utilisation(utilisation)
    paid = None if price is None else price_of(price)
    meter = energy_meter(energy)
    calls = profiled_calls(run, tokenizer) if profile else None
    subject = subject_of(run, tokenizer, batch_size)
    peak = _PeakMemory()
    per_text = _warm_up(subject, texts, batch_size, warmup)
    sample = _sample(texts, round(seconds / rounds / per_text), batch_size)
    trial = _Trial(subject, sample, batch_size)
    trial.look_through()
    taken, repeated = _quiet(trial, rounds, meter)
    singles = taken.singles or trial.single_queries(seconds / 2)
    return Measurement(
        subject=subject.name,
        texts=len(texts),
        texts_measured=min(len(sample), len(texts)),
        batch_size=batch_size,
        at_once=trial.at_once,
        queries=len(sample) * rounds,
        queries_per_second=taken.speed,
        latency_ms=spread(singles).scaled(1e3),
        p99_ms=1e3 * percentile(singles, 99),
        price=paid,
        utilisation=utilisation,
        energy=taken.energy,
        peak_memory_mb=peak.megabytes(),
        own_memory_mb=None if subject.own_mb is None else subject.own_mb(),
        repeated=repeated,
        noisy=taken.speed.relative > NOISY,
        machine=machine_facts().to_dict(),
        profile=None
        if calls is None
        else engine_profile(calls, _once(sample, texts), seconds=seconds / 2, batch_size=batch_size),
    )


@dataclass(frozen=True)
class _Taken:
    """All rounds: texts a second, seconds of single queries where those were timed, energy."""

    speed: Spread
    singles: list[float]
    energy: EnergyReading


@dataclass(frozen=True)
class _Trial:
    """A subject with the texts of a round."""

    subject: Subject
    sample: list[Text]
    batch_size: int

    @property
    def at_once(self) -> int:
        """How many requests are computed at the same time."""
        return self.subject.at_once if self.batch_size == 1 else 1

    def rounds(self, count: int, meter: EnergyMeter) -> _Taken:
        """Takes all rounds."""
        seconds, singles = [], []
        with meter:
            for _ in range(count):
                elapsed, single = self._round()
                seconds.append(elapsed)
                singles += single
        return _Taken(spread([len(self.sample) / elapsed for elapsed in seconds]), singles, meter.reading)

    def _round(self) -> tuple[float, list[float]]:
        """Answers the sample once; returns the time it took, and that of each text if they were alone."""
        if self.batch_size == 1 and self.subject.stream is None:
            single = [_seconds_of(self.subject.one, text) for text in self.sample]
            return sum(single), single
        start = time.perf_counter()
        if self.batch_size == 1 and self.subject.stream is not None:
            self.subject.stream(self.sample)
        else:
            for batch in _batches(self.sample, self.batch_size):
                _call(self.subject.many, batch)
        return time.perf_counter() - start, []

    def look_through(self) -> None:
        """Answers the sample once, not timed, and refuses answers that hold NaN."""
        for batch in _batches(self.sample, self.batch_size):
            answer = (
                _call(self.subject.one, batch[0]) if self.batch_size == 1 else _call(self.subject.many, batch)
            )
            if is_not_run(answer):
                raise ConfigError(
                    f"run returned a {type(answer).__name__}, which has computed nothing yet: pass a function that "
                    "returns when the answer is there, e.g. lambda text: asyncio.run(answer(text))"
                )
            if holds_nan(answer):
                raise NonFiniteError(
                    f"the answer to {_shown(batch[0])} holds NaN: a model that gives no numbers is not worth timing"
                )

    def single_queries(self, seconds: float) -> list[float]:
        """Times single texts, one after the other, for about ``seconds``."""
        taken: list[float] = []
        for number in range(_MOST_SINGLE_QUERIES):
            if number >= _LEAST_SINGLE_QUERIES and sum(taken) > seconds:
                break
            taken.append(_seconds_of(self.subject.one, self.sample[number % len(self.sample)]))
        return taken


def _quiet(trial: _Trial, rounds: int, meter: EnergyMeter) -> tuple[_Taken, bool]:
    """Takes the rounds, twice when the first spread too much; returns the quieter ones and whether it was twice."""
    first = trial.rounds(rounds, meter)
    if first.speed.relative <= NOISY:
        return first, False
    again = trial.rounds(rounds, meter)
    return min(first, again, key=lambda taken: taken.speed.relative), True


def _warm_up(subject: Subject, texts: Sequence[Text], batch_size: int, seconds: float) -> float:
    """Answers texts for some time; returns seconds of a text, with what works at once counted in."""
    call: Callable[[Any], Any] = subject.one if batch_size == 1 else subject.many
    taken: list[tuple[float, int]] = []
    for batch in _endless(texts, batch_size):
        taken.append((_seconds_of(call, batch[0] if batch_size == 1 else batch), len(batch)))
        if len(taken) >= _LEAST_WARM_UP and sum(spent for spent, _ in taken) > seconds:
            break
    later = taken[1:]  # the first call prepares what others find
    spent, answered = sum(spent for spent, _ in later), sum(count for _, count in later)
    return max(spent / answered / (subject.at_once if batch_size == 1 else 1), _CLOCK_STEP)


def _sample(texts: Sequence[Text], fit: int, batch_size: int) -> list[Text]:
    """Returns the texts of a round: all, several times over where they are few, or an even sample of their lengths."""
    if fit >= len(texts):
        return [*texts] * min(fit // len(texts), max(1, _MOST_TEXTS // len(texts)))
    count = min(len(texts), max(batch_size, fit // batch_size * batch_size))
    by_length = sorted(range(len(texts)), key=lambda index: _length(texts[index]))
    step = len(texts) / count
    return [texts[index] for index in sorted(by_length[int((place + 0.5) * step)] for place in range(count))]


def _once(sample: list[Text], texts: Sequence[Text]) -> Sequence[Text]:
    """The texts of a round without repetitions of all."""
    return sample[: len(texts)]


def _length(text: Text) -> int:
    """Letters; what has no length, as a callable of anything may take, is as long as any other."""
    parts: tuple[Any, ...] = text if isinstance(text, tuple) else (text,)
    if isinstance(text, SpanText):
        parts = (text.text, text.text_pair)
    return sum(len(part) for part in parts if isinstance(part, Sized))


def _endless(texts: Sequence[Text], batch_size: int) -> Iterator[Sequence[Text]]:
    while True:
        yield from _batches(texts, batch_size)


def _batches(texts: Sequence[Text], batch_size: int) -> Iterator[Sequence[Text]]:
    for start in range(0, len(texts), batch_size):
        yield texts[start : start + batch_size]


def _seconds_of(function: Callable[[Any], Any], given: Any) -> float:
    start = time.perf_counter()
    _call(function, given)
    return time.perf_counter() - start


def _call(function: Callable[[Any], Any], given: Any) -> Any:
    """Calls what is measured; an error that is not ours says with which text it came."""
    try:
        return function(given)
    except FastformersError:
        raise
    except Exception as error:
        raise ConfigError(f"run failed on {_shown(given)}: {type(error).__name__}: {error}") from error


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def _check(texts: Sequence[Text], rounds: int, seconds: float, batch_size: int, warmup: float) -> None:
    if isinstance(texts, str):
        raise ConfigError("texts is one string; pass a list of texts")
    # Every round answers the texts again, and takes some of them by their place.
    if isinstance(texts, Mapping) or not (hasattr(texts, "__len__") and hasattr(texts, "__getitem__")):
        raise ConfigError(f"texts is a {type(texts).__name__}; pass a list of texts")
    if len(texts) == 0:
        raise ConfigError("there are no texts to measure with: pass at least one")
    for name, value, least in (("rounds", rounds, _LEAST_ROUNDS), ("batch_size", batch_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} is {value!r}; allowed: a whole number from {least}")
    if not (isfinite(seconds) and seconds > 0):
        raise ConfigError(f"seconds is {seconds!r}; allowed: a number above 0")
    if not (isfinite(warmup) and warmup >= 0):
        raise ConfigError(f"warmup is {warmup!r}; allowed: seconds from 0")


class _PeakMemory:
    """Most memory of this process since it was made, where the kernel lets us begin anew; else since its start."""

    def __init__(self) -> None:
        try:
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
        except OSError:
            pass

    def megabytes(self) -> float | None:
        """Returns 10^6 bytes; ``None`` where the kernel does not tell."""
        try:
            lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return None
        peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        return int(peaks[0]) * _BYTES_PER_KB / _BYTES_PER_MB if peaks else None
