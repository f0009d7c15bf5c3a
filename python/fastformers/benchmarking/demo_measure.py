# SPDX-License-Identifier: MIT
"""Measures the demo's rows together: latency, throughput, memory of the weights, and right answers.

The texts are dealt into rounds with the same mix of lengths, and each round runs every row over the same
texts. The answers that are counted are those of the timed calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from fastformers.benchmarking.demo_report import Row
from fastformers.measuring import Spread, interleave, paired_ratio, percentile, spread

if TYPE_CHECKING:
    from torch import nn

    from fastformers.rewriting import Encoder

__all__ = [
    "Run",
    "Way",
    "WeightBytes",
    "all_at_once",
    "deal_rounds",
    "engine_weight_bytes",
    "measure_ways",
    "one_at_a_time",
    "texts_that_fit",
    "weight_bytes",
]

_TEXTS_PER_ROUND = 10
_BYTES_PER_MB = 1e6
_TRIAL_TEXTS = 4
# How often a round's texts are submitted under load: with few requests the last one, alone on one instance while the
# others are idle, would count for too much.
_REPEATS_UNDER_LOAD = 5


@dataclass(frozen=True)
class Run:
    """One way's results of one round.

    Attributes:
        seconds: from handing in a text to its answer, for each request.
        answers: index of the label chosen for every text, in the order of the round.
        elapsed: seconds that the round's texts took together, once through.
    """

    seconds: list[float]
    answers: list[int]
    elapsed: float


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's weights as they are held for computing.

    Attributes:
        model: all of them.
        linear: those of the linear layers.
    """

    model: int
    linear: int


@dataclass(frozen=True)
class Way:
    """One way to answer.

    Attributes:
        name: what the table and the picture call it.
        meaning: what it does, in words that need no other reading.
        weights: memory of its weights.
        run: answers texts, tokenizing included.
        under_load: texts wait for each other; a text's time includes its waiting.
    """

    name: str
    meaning: str
    weights: WeightBytes
    run: Callable[[Sequence[str]], Run]
    under_load: bool = False


def one_at_a_time(answer: Callable[[str], int]) -> Callable[[Sequence[str]], Run]:
    """Makes a way's ``run`` of a function that answers one text."""

    def run(texts: Sequence[str]) -> Run:
        seconds, answers = [], []
        for text in texts:
            start = time.perf_counter()
            answers.append(answer(text))
            seconds.append(time.perf_counter() - start)
        return Run(seconds, answers, sum(seconds))

    return run


def all_at_once(
    submit: Callable[[str], Future[Any]],
    answer: Callable[[Any], int] = int,
    repeats: int = _REPEATS_UNDER_LOAD,
) -> Callable[[Sequence[str]], Run]:
    """Makes a way's ``run`` of a function that queues one text: all are handed in before any is waited for.

    Args:
        submit: text -> future of a result.
        answer: result -> answer.
        repeats: how often the texts are handed in, back to back.
    """

    def run(texts: Sequence[str]) -> Run:
        begun: list[float] = []
        futures: list[Future[Any]] = []
        finished: SimpleQueue[tuple[int, float]] = SimpleQueue()
        for place, text in enumerate([*texts] * repeats):
            begun.append(time.perf_counter())
            futures.append(submit(text))
            futures[-1].add_done_callback(partial(_note_end, finished, place))
        ends = [end for _, end in sorted(finished.get() for _ in futures)]
        seconds = [end - start for start, end in zip(begun, ends, strict=True)]
        answers = [answer(future.result()) for future in futures[: len(texts)]]
        return Run(seconds, answers, (max(ends) - begun[0]) / repeats)

    return run


def _note_end(finished: SimpleQueue[tuple[int, float]], place: int, _: Future[Any]) -> None:
    finished.put((place, time.perf_counter()))


def texts_that_fit(ways: Sequence[Way], texts: Sequence[str], seconds: float) -> int:
    """Estimates how many texts all ways together can answer in a time, from a few trial texts.

    Args:
        ways: what will be measured; this also warms them up.
        texts: all texts, a varied prefix first.
        seconds: time to stay below.

    Returns:
        At least one round's number of texts, at most all.
    """
    per_text = 0.0
    for way in ways:
        way.run(texts[:1])
        start = time.perf_counter()
        way.run(texts[:_TRIAL_TEXTS])
        per_text += (time.perf_counter() - start) / _TRIAL_TEXTS
    share_discarded = 1 / _TEXTS_PER_ROUND
    return min(len(texts), max(_TEXTS_PER_ROUND, int(seconds / per_text / (1 + share_discarded))))


def deal_rounds(lengths: Sequence[int]) -> list[list[int]]:
    """Deals texts into rounds of about ten so that every round has the same mix of lengths.

    Args:
        lengths: length of each text, any unit.

    Returns:
        Indices of the texts, one list per round; each index once.

    Example:
        >>> deal_rounds([5] * 20)[0]
        [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    """
    rounds = max(1, len(lengths) // _TEXTS_PER_ROUND)
    by_length = sorted(range(len(lengths)), key=lambda index: lengths[index])
    return [by_length[first::rounds] for first in range(rounds)]


def measure_ways(
    ways: Sequence[Way],
    texts: Sequence[str],
    labels: Sequence[int],
    lengths: Sequence[int],
    after_reading: Callable[[str, int], None] | None = None,
) -> list[Row]:
    """Answers every text in every way, and compares each way with the ones before.

    Args:
        ways: the first is the slow start.
        texts: at least two.
        labels: the right answer to each.
        lengths: length of each text, used to give all rounds the same mix.
        after_reading: called with a way's name and the round's index after each block.

    Returns:
        One row per way.
    """
    rounds = deal_rounds(lengths)

    def reading_of(way: Way) -> Callable[[int], Run]:
        return lambda index: _read(way, [texts[i] for i in rounds[index]])

    runs = interleave({way.name: reading_of(way) for way in ways}, len(rounds), after_reading=after_reading)
    right = [labels[index] for of_round in rounds for index in of_round]
    return [_row(ways, position, runs, right) for position in range(len(ways))]


def _read(way: Way, texts: Sequence[str]) -> Run:
    way.run(texts[:1])  # the first call after a switch pays for the caches of the way before
    return way.run(texts)


def _row(ways: Sequence[Way], position: int, runs: dict[str, list[Run]], right: Sequence[int]) -> Row:
    way, before = ways[position], ways[max(0, position - 1)]
    own = runs[way.name]
    elapsed = {name: [run.elapsed for run in of_way] for name, of_way in runs.items()}
    milliseconds = [1e3 * value for run in own for value in run.seconds]
    answers = _answers(own)

    def times_faster_than(other: Way) -> Spread:
        return paired_ratio(elapsed[other.name], elapsed[way.name])

    return Row(
        name=way.name,
        meaning=way.meaning,
        under_load=way.under_load,
        latency_ms=spread(milliseconds),
        p99_ms=percentile(milliseconds, 99),
        queries_per_second=spread([len(run.answers) / run.elapsed for run in own]),
        step_speedup=times_faster_than(before),
        total_speedup=times_faster_than(ways[0]),
        model_mb=way.weights.model / _BYTES_PER_MB,
        linear_mb=way.weights.linear / _BYTES_PER_MB,
        accuracy=_share_equal(answers, right),
        same_as_before=_share_equal(answers, _answers(runs[before.name])),
    )


def _answers(runs: Sequence[Run]) -> list[int]:
    return [answer for run in runs for answer in run.answers]


def _share_equal(one: Sequence[int], other: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def weight_bytes(model: nn.Module) -> WeightBytes:
    """Counts the bytes of a torch model's parameters and buffers: all of them, and those of its linear layers."""
    from torch import nn

    from fastformers.modules import PackedLinear

    def own_bytes(module: nn.Module) -> int:
        return sum(t.nbytes for t in (*module.parameters(recurse=False), *module.buffers(recurse=False)))

    modules = list(model.modules())
    linear = [module for module in modules if isinstance(module, nn.Linear | PackedLinear)]
    return WeightBytes(sum(map(own_bytes, modules)), sum(map(own_bytes, linear)))


def engine_weight_bytes(encoder: Encoder | Any) -> WeightBytes:
    """Counts the bytes a compiled encoder holds for its calls: one packed copy, whatever the number of instances.

    What is not a table or a norm is the block of packed linear layers, with its padding: columns of a head are filled
    up to whole panels, and the block to whole huge pages.
    """
    tables = sum(
        array.nbytes
        for name, array in encoder.tensors.items()
        if name.endswith(
            ("embeddings.word", "embeddings.word.scale", "embeddings.position", "embeddings.type")
        )
        or (name.startswith("layers.") and "_norm." in name)
        or name.endswith(".relative_bias")
    )
    return WeightBytes(encoder.weight_bytes, encoder.weight_bytes - tables)
