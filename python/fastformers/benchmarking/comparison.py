# SPDX-License-Identifier: MIT
"""What a comparison of engines is asked for, and what it found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastformers.measuring import Spread, paired_ratio, spread

__all__ = ["Comparison", "ComparisonSettings", "Measured"]

SCHEMA = "fastformers-bench/1"


@dataclass(frozen=True)
class ComparisonSettings:
    """What to measure and how long.

    Attributes:
        engines: families or names, see :data:`fastformers.benchmarking.engines.FAMILIES`.
        threads: threads of every engine.
        lengths: one batch of a single text of so many tokens each; longer than the model takes are left out.
        together: texts of the batch of mixed lengths; 0 for no such batch.
        rounds: interleaved rounds.
        block_seconds: length of one engine's block in a round.
    """

    engines: tuple[str, ...]
    threads: int
    lengths: tuple[int, ...] = (16, 64, 128)
    together: int = 8
    rounds: int = 5
    block_seconds: float = 0.1


@dataclass(frozen=True)
class Measured:
    """One engine on one model and one batch.

    Attributes:
        model: folder, as given.
        engine: name of the engine.
        batch: name of the batch.
        seconds: per call, one reading a round.
        cosine: of its answers with torch float32; None without a reference of the same shape.
    """

    model: str
    engine: str
    batch: str
    seconds: tuple[float, ...]
    cosine: float | None

    @property
    def milliseconds(self) -> Spread:
        """Milliseconds per call over the rounds."""
        return spread(self.seconds).scaled(1e3)

    def times(self, other: Measured) -> float:
        """How many times as long as ``other`` it takes, by the ratios inside the rounds."""
        return paired_ratio(self.seconds, other.seconds).median


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Attributes:
        settings: as asked for.
        cores: logical CPUs that every process was pinned to.
        machine: the facts of :func:`fastformers.benchmarking.machine.machine_facts`.
        lengths: tokens of each text, by batch.
        measured: in the order of batches, models, engines.
        left_out: who was not measured, and why or what installs it.
    """

    settings: ComparisonSettings
    cores: tuple[int, ...]
    machine: dict[str, Any]
    lengths: dict[str, list[int]]
    measured: tuple[Measured, ...]
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns every reading as plain JSON values."""
        entries = [{**asdict(one), "milliseconds": one.milliseconds.as_dict()} for one in self.measured]
        return {"schema": SCHEMA, **asdict(self), "measured": entries}
