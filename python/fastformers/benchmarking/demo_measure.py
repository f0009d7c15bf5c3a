# SPDX-License-Identifier: MIT
"""Measures the demo's rows together: latency, throughput, memory of the weights, and agreement with float32.

The texts are dealt into rounds with the same mix of lengths, and each round runs every row over the same
texts. The embeddings that are compared are those of the timed calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastformers.benchmarking.demo_report import Row
from fastformers.measuring import Spread, interleave, paired_ratio, percentile, spread

if TYPE_CHECKING:
    from torch import nn

    from fastformers.rewriting import Encoder

__all__ = [
    "Embedding",
    "Run",
    "Way",
    "WeightBytes",
    "all_at_once",
    "compare_embeddings",
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

Embedding = NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """One way's results of one round.

    Attributes:
        seconds: from handing in a text to its embedding, for each request.
        embeddings: of every text, in the order of the round.
        elapsed: seconds that the round's texts took together, once through.
    """

    seconds: list[float]
    embeddings: list[Embedding]
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
    """One way to run the encoder.

    Attributes:
        name: what the table and the picture call it.
        meaning: what it does, in words that need no other reading.
        weights: memory of its weights.
        run: embeds texts, tokenizing included; embeddings are float32 [hidden] of length 1.
        under_load: texts wait for each other; a text's time includes its waiting.
    """

    name: str
    meaning: str
    weights: WeightBytes
    run: Callable[[Sequence[str]], Run]
    under_load: bool = False


def one_at_a_time(embed: Callable[[str], Embedding]) -> Callable[[Sequence[str]], Run]:
    """Makes a way's ``run`` of a function that embeds one text."""

    def run(texts: Sequence[str]) -> Run:
        seconds, embeddings = [], []
        for text in texts:
            start = time.perf_counter()
            embeddings.append(embed(text))
            seconds.append(time.perf_counter() - start)
        return Run(seconds, embeddings, sum(seconds))

    return run


def all_at_once(
    submit: Callable[[str], Future[Embedding]], repeats: int = _REPEATS_UNDER_LOAD
) -> Callable[[Sequence[str]], Run]:
    """Makes a way's ``run`` of a function that queues one text: all are handed in before any is waited for.

    Args:
        submit: text -> future of its embedding.
        repeats: how often the texts are handed in, back to back.
    """

    def run(texts: Sequence[str]) -> Run:
        begun: list[float] = []
        futures: list[Future[Embedding]] = []
        finished: SimpleQueue[tuple[int, float]] = SimpleQueue()
        for place, text in enumerate([*texts] * repeats):
            begun.append(time.perf_counter())
            futures.append(submit(text))
            futures[-1].add_done_callback(partial(_note_end, finished, place))
        ends = [end for _, end in sorted(finished.get() for _ in futures)]
        seconds = [end - start for start, end in zip(begun, ends, strict=True)]
        embeddings = [future.result() for future in futures[: len(texts)]]
        return Run(seconds, embeddings, (max(ends) - begun[0]) / repeats)

    return run


def _note_end(finished: SimpleQueue[tuple[int, float]], place: int, _: Future[Embedding]) -> None:
    finished.put((place, time.perf_counter()))


def texts_that_fit(ways: Sequence[Way], texts: Sequence[str], seconds: float) -> int:
    """Estimates how many texts all ways together can embed in a time, from a few trial texts.

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
    lengths: Sequence[int],
    after_reading: Callable[[str, int], None] | None = None,
) -> list[Row]:
    """Embeds every text in every way, one text at a time, and compares each way with the one before.

    Args:
        ways: the first is the slow start, the second is the float32 answer that all are compared with.
        texts: at least two.
        lengths: length of each text, used to give all rounds the same mix.
        after_reading: called with a way's name and the round's index after each block.

    Returns:
        One row per way.
    """
    rounds = deal_rounds(lengths)

    def reading_of(way: Way) -> Callable[[int], Run]:
        return lambda index: _read(way, [texts[i] for i in rounds[index]])

    runs = interleave({way.name: reading_of(way) for way in ways}, len(rounds), after_reading=after_reading)
    expected = _stacked(runs[ways[1].name])
    return [_row(ways, position, runs, expected) for position in range(len(ways))]


def _read(way: Way, texts: Sequence[str]) -> Run:
    way.run(texts[:1])  # the first call after a switch pays for the caches of the way before
    return way.run(texts)


def _stacked(runs: Sequence[Run]) -> Embedding:
    return np.stack([embedding for run in runs for embedding in run.embeddings])


def _row(ways: Sequence[Way], position: int, runs: dict[str, list[Run]], expected: Embedding) -> Row:
    way, own = ways[position], runs[ways[position].name]
    elapsed = {name: [run.elapsed for run in of_way] for name, of_way in runs.items()}
    milliseconds = [1e3 * value for run in own for value in run.seconds]
    cosines, same, loss = compare_embeddings(expected, _stacked(own))

    def times_faster_than(other: Way) -> Spread:
        return paired_ratio(elapsed[other.name], elapsed[way.name])

    return Row(
        name=way.name,
        meaning=way.meaning,
        under_load=way.under_load,
        latency_ms=spread(milliseconds),
        p99_ms=percentile(milliseconds, 99),
        queries_per_second=spread([len(run.embeddings) / run.elapsed for run in own]),
        step_speedup=times_faster_than(ways[max(0, position - 1)]),
        float_speedup=times_faster_than(ways[1]),
        total_speedup=times_faster_than(ways[0]),
        model_mb=way.weights.model / _BYTES_PER_MB,
        linear_mb=way.weights.linear / _BYTES_PER_MB,
        cosine_mean=float(cosines.mean()),
        cosine_worst=float(cosines.min()),
        same_neighbour=same,
        neighbour_loss=loss,
    )


def compare_embeddings(expected: Embedding, got: Embedding) -> tuple[NDArray[np.float64], float, float]:
    """Compares embeddings with the expected ones, text by text and by the nearest neighbours they give.

    Args:
        expected: float32 [texts, hidden], each row of length 1.
        got: the same texts in the same order, another way.

    Returns:
        The cosine of each text's two embeddings, float64 [texts]; the share of texts whose nearest other text
        is the same one in both sets; and the most similarity, by the expected embeddings, that another choice
        gave up.
    """
    exact, own = expected.astype(np.float64), got.astype(np.float64)
    similarity = exact @ exact.T
    np.fill_diagonal(similarity, -np.inf)
    own_similarity = own @ own.T
    np.fill_diagonal(own_similarity, -np.inf)
    chosen = own_similarity.argmax(axis=1)
    texts = np.arange(len(exact))
    lost = similarity.max(axis=1) - similarity[texts, chosen]
    return (exact * own).sum(axis=1), float(np.mean(chosen == similarity.argmax(axis=1))), float(lost.max())


def weight_bytes(model: nn.Module) -> WeightBytes:
    """Counts the bytes of a torch model's parameters and buffers: all of them, and those of its linear layers."""
    from torch import nn

    from fastformers.modules import PackedLinear

    def own_bytes(module: nn.Module) -> int:
        return sum(t.nbytes for t in (*module.parameters(recurse=False), *module.buffers(recurse=False)))

    modules = list(model.modules())
    linear = [module for module in modules if isinstance(module, nn.Linear | PackedLinear)]
    return WeightBytes(sum(map(own_bytes, modules)), sum(map(own_bytes, linear)))


def engine_weight_bytes(encoder: Encoder) -> WeightBytes:
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
