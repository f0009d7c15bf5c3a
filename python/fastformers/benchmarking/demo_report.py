# SPDX-License-Identifier: MIT
"""What the demo reports: one row per rung of the ladder, and what they were measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastformers.benchmarking.wording import processor
from fastformers.counted import counted
from fastformers.errors import FormatError
from fastformers.measuring import Spread

__all__ = ["DemoReport", "Row"]

_SPREADS = ("latency_ms", "queries_per_second", "step_speedup", "total_speedup")


@dataclass(frozen=True)
class Row:
    """One way to answer, measured on this machine.

    Attributes:
        name: what the table and the picture call it.
        meaning: what it does, in words that need no other reading.
        under_load: all texts were handed in at once: a text's time includes its waiting in the queue, and the
            row's texts per second are those of all instances together. False: one text at a time.
        latency_ms: time of one text, tokenizing included, in milliseconds: median and quartiles over the
            texts.
        p99_ms: time in milliseconds that 99 % of the texts stay below.
        queries_per_second: texts per second: median and quartiles over the rounds.
        step_speedup: times faster than the row above, round by round.
        total_speedup: times faster than the first row, round by round.
        model_mb: bytes of all weights, in 10^6.
        linear_mb: bytes of the linear layers' weights, the part that quantization changes, in 10^6. Of torch rows
            parameters and buffers of these layers; of the compiled engine its block of packed layers with the block's
            padding, once for all instances.
        accuracy: share of the texts answered rightly.
        same_as_before: share of the texts with the answer of the row above.
    """

    name: str
    meaning: str
    under_load: bool
    latency_ms: Spread
    p99_ms: float
    queries_per_second: Spread
    step_speedup: Spread
    total_speedup: Spread
    model_mb: float
    linear_mb: float
    accuracy: float
    same_as_before: float


@dataclass(frozen=True)
class DemoReport:
    """Everything the demo measured, as it is saved, printed and drawn.

    Attributes:
        schema: version of this layout.
        model: name of the pretrained encoder.
        method: how the rows were measured, in words.
        texts: number of texts ``measured`` and ``trained`` on; ``quick``, 1 where few were asked for; ``classes``;
            ``shortest``, ``median`` and ``longest`` in tokens.
        rows: in the order in which each builds on the one before.
        training_seconds: of all stages, when they ran.
        cached: all stages were there from an earlier run.
        threads: threads of ``torch`` and of ``fastformers``, of a call and of the compiled engine; ``instances`` of
            the rows under load, one thread each.
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found.
    """

    schema: str
    model: str
    method: str
    texts: dict[str, int]
    rows: list[Row]
    training_seconds: float
    cached: bool
    threads: dict[str, int]
    machine: dict[str, Any]

    def machine_line(self) -> str:
        """Names processor, cores, threads, kernels and torch in one line."""
        return (
            f"{processor(self.machine)}, {counted(self.threads['fastformers'], 'thread')}, "
            f"kernels {self.machine['cpu']['active_isa']}, torch {self.machine['packages']['torch']}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DemoReport:
        """Reads what :meth:`to_dict` gave.

        Raises:
            FormatError: a field is absent, unknown, or of the wrong kind.
        """
        try:
            rows = [
                Row(**{**row, **{name: Spread(**row[name]) for name in _SPREADS}}) for row in content["rows"]
            ]
            return cls(**{**content, "rows": rows})
        except (TypeError, KeyError) as error:
            raise FormatError(f"the demo's file is damaged: {error!r}") from error
