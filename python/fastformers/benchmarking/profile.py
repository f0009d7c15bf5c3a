# SPDX-License-Identifier: MIT
"""Where the time goes inside the engine: every operation of every layer, beside what this machine could do at best.

The executor itself notes the time after each operation (``csrc/encoder/profile.h``). Work and limits are those of
:mod:`fastformers.benchmarking.explain`: multiply-accumulates of real tokens, and the ceilings of this machine, which
are measured before and after the calls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers import kernels
from fastformers.benchmarking.explain import Ceilings, limit_microseconds, measured_ceilings
from fastformers.benchmarking.explain_work import Work, work_of
from fastformers.errors import FormatError
from fastformers.runtime.encoder_calls import EncoderCalls
from fastformers.tokenization import Text

__all__ = ["EngineProfile", "ProfiledOperation", "engine_profile", "summed"]

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 1000
#: What the executor calls work outside of the layers, by the names of explain_work.
_OUTSIDE = {"embeddings.projection": "embedding"}
_HEADS = "heads"


@dataclass(frozen=True, kw_only=True)
class ProfiledOperation:
    """One operation of one layer, or one outside of the layers; means over the texts.

    Attributes:
        layer: from 0; None outside of the layers.
        name: ``qkv``, ``attention``, ``output``, ``norms``, ``up``, ``down`` and ``waiting`` (for the other threads of
            the call); outside of the layers ``tokenizing``, ``call`` (memory, starting threads), ``embedding``,
            ``heads`` and ``waiting``. Quantizing rows belongs to the norm or matmul that does it, an activation to
            ``up``, softmax to ``attention``.
        milliseconds: of a text.
        share: of the whole time of a text, 0 to 1.
        macs: multiply-accumulates of a text; None where there are none.
        limit_ms: the time these take at the ceilings, in ms; None without work or without ceilings.
    """

    layer: int | None
    name: str
    milliseconds: float
    share: float
    macs: float | None
    limit_ms: float | None

    @property
    def gmacs_per_second(self) -> float | None:
        """10^9 multiply-accumulates a second; None without work."""
        return None if self.macs is None else 1e-6 * self.macs / self.milliseconds

    @property
    def percent_of_limit(self) -> float | None:
        """The time at the ceilings, of the time taken; None without work or without ceilings."""
        return None if self.limit_ms is None else 100 * self.limit_ms / self.milliseconds

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values."""
        rates = {"gmacs_per_second": self.gmacs_per_second, "percent_of_limit": self.percent_of_limit}
        return {**asdict(self), **rates}


@dataclass(frozen=True, kw_only=True)
class EngineProfile:
    """Where the time of a text goes, one call at a time with nothing else in flight.

    Attributes:
        texts: that were answered.
        batch_size: texts of one call.
        rounds: how often each was; its quickest call counts.
        tokens: of a text, mean.
        threads: of a call; one with little work uses fewer.
        milliseconds: of a text, tokenizing included.
        slowed: how much longer the calls take because times are noted: 0.02 is 2 %.
        ceilings: of this machine, on so many threads.
        operations: in the order of computing.
    """

    texts: int
    batch_size: int
    rounds: int
    tokens: float
    threads: int
    milliseconds: float
    slowed: float
    ceilings: Ceilings
    operations: tuple[ProfiledOperation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values."""
        return {**asdict(self), "operations": [each.to_dict() for each in self.operations]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> EngineProfile:
        """Reads what :meth:`to_dict` gave.

        Raises:
            FormatError: a field is absent, unknown, or of the wrong kind.
        """
        try:
            operations = tuple(
                ProfiledOperation(**{name: each[name] for name in ProfiledOperation.__dataclass_fields__})
                for each in content["operations"]
            )
            ceilings = Ceilings(**content["ceilings"])
            return cls(**{**content, "ceilings": ceilings, "operations": operations})
        except (TypeError, KeyError) as error:
            raise FormatError(f"profile is damaged: {error!r}") from error

    def __str__(self) -> str:
        """Returns the tables as text."""
        from fastformers.benchmarking.profile_table import profile_text

        return profile_text(self)


def summed(operations: Sequence[ProfiledOperation], name: str) -> ProfiledOperation:
    """Adds operations up, under a new name; at least one."""
    work = [each for each in operations if each.macs is not None]
    limits = [each.limit_ms for each in work if each.limit_ms is not None]
    return ProfiledOperation(
        layer=None,
        name=name,
        milliseconds=sum(each.milliseconds for each in operations),
        share=sum(each.share for each in operations),
        macs=sum(each.macs or 0.0 for each in work) if work else None,
        limit_ms=sum(limits) if limits else None,
    )


def engine_profile(
    calls: EncoderCalls, texts: Sequence[Text], *, seconds: float = 5.0, batch_size: int = 1
) -> EngineProfile:
    """Measures where the time of calls goes.

    All texts are answered in rounds. In each, a call is made twice, once as it is and once with the time noted after
    every operation. The quickest of a call's repetitions counts: what disturbs one only adds to it.

    Args:
        calls: of an engine (``engine.calls()``) or of a compiled encoder.
        texts: at least one.
        seconds: that it may take, about; at least three rounds are made.
        batch_size: texts of one call.

    Returns:
        The profile; print it.

    Example:
        >>> print(engine_profile(engine.calls(), texts))
    """
    threads = calls.threads or kernels.num_threads()
    before = measured_ceilings(threads)
    quickest = [
        _Quickest(calls, texts[first : first + batch_size]) for first in range(0, len(texts), batch_size)
    ]
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < _LEAST_ROUNDS or (time.perf_counter() < end and rounds < _MOST_ROUNDS):
        for call in quickest:
            call.repeat()
        rounds += 1
    ceilings = max(before, measured_ceilings(threads), key=lambda found: found.int8_gops or 0.0)
    total = sum(call.tokenizing + call.noted for call in quickest)
    return EngineProfile(
        texts=len(texts),
        batch_size=batch_size,
        rounds=rounds,
        tokens=sum(sum(call.lengths) for call in quickest) / len(texts),
        threads=threads,
        milliseconds=1e3 * total / len(texts),
        slowed=sum(call.noted for call in quickest) / sum(call.plain for call in quickest) - 1,
        ceilings=ceilings,
        operations=tuple(_operations(calls, quickest, ceilings)),
    )


class _Quickest:
    """One call and its quickest repetitions: seconds of tokenizing, of the call as it is, and of one with notes."""

    def __init__(self, calls: EncoderCalls, texts: Sequence[Text]) -> None:
        self._calls, self._texts = calls, texts
        self._batch = calls.encode(texts)
        calls.forward(self._batch)  # what is prepared at first use
        self.lengths: list[int] = np.diff(self._batch.offsets).tolist()
        self.tokenizing = self.plain = self.noted = math.inf
        self.notes: dict[str, Any] = {}

    def repeat(self) -> None:
        """Tokenizes and calls once more."""
        start = time.perf_counter()
        self._calls.encode(self._texts)
        encoded = time.perf_counter()
        self._calls.forward(self._batch)
        computed = time.perf_counter()
        notes = self._calls.profile(self._batch)
        noted = time.perf_counter() - computed
        self.tokenizing = min(self.tokenizing, encoded - start)
        self.plain = min(self.plain, computed - encoded)
        if noted < self.noted:
            self.noted, self.notes = noted, notes

    @property
    def spent(self) -> NDArray[np.float64]:
        """Seconds of the operations, float64 [layers + 1, operations]: of all threads, divided by the threads."""
        shared: NDArray[np.float64] = self.notes["seconds"] / self.notes["threads"]
        return shared


def _operations(
    calls: EncoderCalls, quickest: Sequence[_Quickest], ceilings: Ceilings
) -> Iterator[ProfiledOperation]:
    """Yields every operation that took time: tokenizing, the call, embedding, the layers, heads, waiting."""
    lengths = [length for call in quickest for length in call.lengths]
    work = _work(calls, lengths, ceilings)
    texts, outside = len(lengths), len(calls.plan.layers)
    tokenizing, noted = (sum(getattr(call, name) for call in quickest) for name in ("tokenizing", "noted"))
    spent: NDArray[np.float64] = np.sum([call.spent for call in quickest], axis=0)
    names = quickest[0].notes["operations"]

    def made(layer: int | None, name: str, seconds: float) -> ProfiledOperation:
        macs, limit_ms = work.get((layer, name), (None, None))
        return ProfiledOperation(
            layer=layer,
            name=name,
            milliseconds=1e3 * seconds / texts,
            share=seconds / (tokenizing + noted),
            macs=macs,
            limit_ms=limit_ms,
        )

    def row(index: int, chosen: Callable[[str], bool]) -> Iterator[ProfiledOperation]:
        layer = None if index == outside else index
        for name, seconds in zip(names, spent[index].tolist(), strict=True):
            if seconds > 0 and chosen(name):
                yield made(layer, name, seconds)

    yield made(None, "tokenizing", tokenizing)
    yield made(None, "call", max(0.0, noted - float(spent.sum())))
    yield from row(outside, lambda name: name == "embedding")
    for index in range(outside):
        yield from row(index, lambda name: True)
    yield from row(outside, lambda name: name != "embedding")


def _work(
    calls: EncoderCalls, lengths: Sequence[int], ceilings: Ceilings
) -> dict[tuple[int | None, str], tuple[float, float | None]]:
    """Multiply-accumulates of a text and their milliseconds at the ceilings, by layer and the executor's name."""
    int8 = set(calls.native.int8_matrices)
    counted: dict[tuple[int | None, str], tuple[float, float | None]] = {}
    for work in work_of(calls.plan, lengths, calls.native.attention):
        name = _executors_name(work, calls.outputs)
        if name is None:
            continue
        share = float(work.tensor in int8) if work.tensor else work.int8_share
        microseconds = limit_microseconds(work.macs, share, ceilings)
        macs, limit_ms = counted.get((work.layer, name), (0.0, 0.0))
        added = None if microseconds is None or limit_ms is None else limit_ms + 1e-3 * microseconds
        counted[work.layer, name] = (macs + work.macs, added)
    return counted


def _executors_name(work: Work, outputs: Sequence[str]) -> str | None:
    """The operation that a matrix belongs to; None for a head that nobody asked for."""
    if work.layer is not None:
        return work.name
    if work.name in _OUTSIDE:
        return _OUTSIDE[work.name]
    return _HEADS if any(work.name.startswith(f"{output}.") for output in outputs) else None
