# SPDX-License-Identifier: MIT
"""What the demo reports: one row per way to run the encoder, and what they were measured on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastformers.measuring import Spread

__all__ = ["DemoReport", "Row"]


@dataclass(frozen=True)
class Row:
    """One way to run the encoder, measured on this machine.

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
        float_speedup: times faster than the second row, float32 without padding, round by round.
        total_speedup: times faster than the first row, round by round.
        model_mb: bytes of all weights, in 10^6.
        linear_mb: bytes of the linear layers' weights, the part that quantization changes, in 10^6. Of torch rows
            parameters and buffers of these layers; of the compiled engine its block of packed layers with the block's
            padding, once for all instances.
        cosine_mean: cosine between this row's and float32's embedding of a text, mean over the texts.
        cosine_worst: the lowest of these cosines.
        same_neighbour: share of the texts whose nearest other text is the one that float32 finds.
        neighbour_loss: where it is another one, how much less similar it is by float32's measure, at most.
    """

    name: str
    meaning: str
    under_load: bool
    latency_ms: Spread
    p99_ms: float
    queries_per_second: Spread
    step_speedup: Spread
    float_speedup: Spread
    total_speedup: Spread
    model_mb: float
    linear_mb: float
    cosine_mean: float
    cosine_worst: float
    same_neighbour: float
    neighbour_loss: float


@dataclass(frozen=True)
class DemoReport:
    """Everything the demo measured, as it is saved, printed and drawn.

    Attributes:
        schema: version of this layout.
        model: name of the encoder.
        method: how the rows were measured, in words.
        texts: number of texts ``measured`` and ``bundled``; ``shortest``, ``median`` and ``longest`` in
            tokens.
        rows: in the order in which each builds on the one before: padded, float32, INT8 layers, compiled engine,
            instances.
        quantizing_seconds: how long ``quantize_`` took.
        compiling_seconds: how long ``compile`` took, its own quantization included.
        int8_layers: linear layers that are INT8 in the third row; the others are not faster here.
        engine_int8_layers: linear layers that are INT8 in the compiled engine.
        linear_layers: linear layers of the model.
        threads: threads of ``torch`` and of ``fastformers``, of a call and of the compiled engine; ``instances`` of
            the last row, one thread each.
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found.
    """

    schema: str
    model: str
    method: str
    texts: dict[str, int]
    rows: list[Row]
    quantizing_seconds: float
    compiling_seconds: float
    int8_layers: int
    engine_int8_layers: int
    linear_layers: int
    threads: dict[str, int]
    machine: dict[str, Any]

    def machine_line(self) -> str:
        """Names processor, cores, threads, kernels and torch in one line."""
        cpu = self.machine["cpu"]
        cores, threads = cpu["physical_cores"], self.threads["fastformers"]
        return (
            f"{cpu['model']}, {cores} core{'s'[: cores != 1]}, {threads} thread{'s'[: threads != 1]}, "
            f"kernels {cpu['active_isa']}, torch {self.machine['packages']['torch']}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return asdict(self)
