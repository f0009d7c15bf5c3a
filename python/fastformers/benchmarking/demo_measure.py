# SPDX-License-Identifier: MIT
"""Measures the demo's rows together: latency, throughput, memory of the weights, and agreement with float32.

The texts are dealt into rounds with the same mix of lengths, and each round runs every row over the same
texts. The embeddings that are compared are those of the timed calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastformers.benchmarking.demo_report import Row
from fastformers.benchmarking.measure import interleave, paired_ratio, percentile, spread

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Way", "deal_rounds", "measure_ways", "texts_that_fit"]

_TEXTS_PER_ROUND = 10
_BYTES_PER_MB = 1e6
_TRIAL_TEXTS = 4

Embedding = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """One way to run the encoder.

    Attributes:
        name: what the table and the picture call it.
        meaning: what it does, in words that need no other reading.
        model: the torch module that holds its weights.
        embed: text -> float32 [hidden] of length 1, tokenizing included.
    """

    name: str
    meaning: str
    model: nn.Module
    embed: Callable[[str], Embedding]


@dataclass(frozen=True)
class _Run:
    """One way's results of one round: seconds and embedding of every text, in the order of the round."""

    seconds: list[float]
    embeddings: list[Embedding]


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
        way.embed(texts[0])
        start = time.perf_counter()
        for text in texts[:_TRIAL_TEXTS]:
            way.embed(text)
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

    def reading_of(way: Way) -> Callable[[int], _Run]:
        return lambda index: _run(way, [texts[i] for i in rounds[index]])

    runs = interleave({way.name: reading_of(way) for way in ways}, len(rounds), after_reading=after_reading)
    expected = _stacked(runs[ways[1].name])
    return [_row(ways, position, runs, expected) for position in range(len(ways))]


def _run(way: Way, texts: Sequence[str]) -> _Run:
    way.embed(texts[0])  # the first call after a switch pays for the caches of the way before
    seconds, embeddings = [], []
    for text in texts:
        start = time.perf_counter()
        embeddings.append(way.embed(text))
        seconds.append(time.perf_counter() - start)
    return _Run(seconds, embeddings)


def _stacked(runs: Sequence[_Run]) -> Embedding:
    return np.stack([embedding for run in runs for embedding in run.embeddings])


def _row(ways: Sequence[Way], position: int, runs: dict[str, list[_Run]], expected: Embedding) -> Row:
    way, own = ways[position], runs[ways[position].name]
    totals = {name: [sum(run.seconds) for run in of_way] for name, of_way in runs.items()}
    milliseconds = [1e3 * value for run in own for value in run.seconds]
    before = ways[max(0, position - 1)].name
    cosines, same, loss = compare_embeddings(expected, _stacked(own))
    model_bytes, linear_bytes = weight_bytes(way.model)
    return Row(
        name=way.name,
        meaning=way.meaning,
        latency_ms=spread(milliseconds),
        p99_ms=percentile(milliseconds, 99),
        queries_per_second=spread([len(run.seconds) / sum(run.seconds) for run in own]),
        step_speedup=paired_ratio(totals[before], totals[way.name]),
        total_speedup=paired_ratio(totals[ways[0].name], totals[way.name]),
        model_mb=model_bytes / _BYTES_PER_MB,
        linear_mb=linear_bytes / _BYTES_PER_MB,
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


def weight_bytes(model: nn.Module) -> tuple[int, int]:
    """Counts the bytes of a model's parameters and buffers: all of them, and those of its linear layers."""
    from torch import nn

    from fastformers.modules import PackedLinear

    def own_bytes(module: nn.Module) -> int:
        return sum(t.nbytes for t in (*module.parameters(recurse=False), *module.buffers(recurse=False)))

    modules = list(model.modules())
    linear = [module for module in modules if isinstance(module, nn.Linear | PackedLinear)]
    return sum(map(own_bytes, modules)), sum(map(own_bytes, linear))
