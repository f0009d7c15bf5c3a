# SPDX-License-Identifier: MIT
"""What a ladder found: one record a row, and what it was measured on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastformers.benchmarking.price_table import Price
from fastformers.benchmarking.wording import processor
from fastformers.counted import counted
from fastformers.measuring import Spread

__all__ = ["SCHEMA", "LadderReport", "LadderRow"]

SCHEMA = "fastformers-ladder/1"


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One row.

    Attributes:
        name: what tables and pictures call it.
        meaning: what it does, in words that need no other reading.
        kind: ``"torch"``, ``"engine"``, ``"instances"``, ``"processes"`` or ``"batches"`` (torch, large batches).
        score: the task's metric, 0 to 100; ``None`` for random weights.
        queries_per_second: median and quartiles over the rounds.
        latency_ms: of a single query, nothing else in flight, from text to answer: over the texts.
        p99_ms: 99th percentile of the same.
        total_seconds: of all texts.
        total_interval: 95 % confidence interval of ``total_seconds`` where it is extrapolated, else ``None``; ``None``
            too of large batches, for it comes from times of single texts.
        sample: texts that were timed.
        against: name of the row that ``step_speedup`` is measured from; empty for the first.
        step_speedup: times as fast as that row, round by round.
        total_speedup: times as fast as the first row, round by round.
        memory_mb: weights and scratch memory, in 10^6 bytes.
        usd_per_100m: US dollars of 100 million queries; ``None`` without a price.
        joules_per_100m: joules of 100 million queries; ``None`` where energy could not be read.
        energy_method: how it was found, or ``"unavailable"``; several where a run went on after that had changed.
        extrapolated: timed on a sample of the texts.
        noisy: the rounds spread over 10 %, even when repeated.
        paper_speedup: ``total_speedup`` of the published row on the authors' machine; ``None`` where there is none.
    """

    name: str
    meaning: str
    kind: str
    score: float | None
    queries_per_second: Spread
    latency_ms: Spread
    p99_ms: float
    total_seconds: float
    total_interval: tuple[float, float] | None
    sample: int
    against: str
    step_speedup: Spread
    total_speedup: Spread
    memory_mb: float
    usd_per_100m: float | None
    joules_per_100m: float | None
    energy_method: str
    extrapolated: bool
    noisy: bool
    paper_speedup: float | None = None


@dataclass(frozen=True, kw_only=True)
class LadderReport:
    """A ladder, as it is saved, printed and drawn.

    Attributes:
        title: short.
        task: short name; ``None`` for plain texts.
        metric: of the scores; ``None`` without scores.
        texts: that ``total_seconds`` are of.
        tokens: ``shortest``, ``median``, ``mean`` and ``longest`` text, as the first model cuts them; how many it
            ``cut``.
        method: how it was measured, in words.
        settings: rounds, threads, instances and so on.
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found; of a GPU ladder also ``gpu``.
        price: of the machine; ``None`` without one.
        utilisation: share of the paid time in which queries are answered.
        repeated: all rounds were taken twice because a row spread over 10 %.
        rows: the ladder: each row builds on the one before.
        comparisons: rows beside it, each against a named row.
    """

    title: str
    task: str | None
    metric: str | None
    texts: int
    tokens: dict[str, float]
    method: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    price: Price | None
    utilisation: float
    repeated: bool
    rows: tuple[LadderRow, ...]
    comparisons: tuple[LadderRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values, schema ``fastformers-ladder/1``."""
        plain = asdict(self)
        for name in ("rows", "comparisons"):
            plain[name] = [{**row, "total_interval": _listed(row["total_interval"])} for row in plain[name]]
        return {"schema": SCHEMA, **plain}

    @property
    def machine_line(self) -> str:
        """Names what was measured on in one line: processor, cores, threads and kernels, or GPU; and torch."""
        cpu, settings, gpu = self.machine["cpu"], self.settings, self.machine.get("gpu")
        if gpu is not None:
            return (
                f"{gpu['name']}, CUDA {gpu['cuda']}, TF32 {'on' if gpu['tf32'] else 'off'}; texts tokenized on "
                f"{cpu['model']}; torch {self.machine['packages']['torch']}"
            )
        return (
            f"{processor(self.machine)}; {counted(settings['threads'], 'thread')}, or "
            f"{counted(settings['instances'], 'instance')} of one thread; kernels {cpu['active_isa']}, "
            f"torch {self.machine['packages']['torch']}"
        )

    def __str__(self) -> str:
        """Returns the table as text."""
        from fastformers.benchmarking.ladder.table import text_table

        return text_table(self)


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
