# SPDX-License-Identifier: MIT
"""Times models beside each other: one text at a time, not padded, on one thread, in rounds that every model runs.

One thread for each is the unit that serving is paid in: instances multiply it. Tokenizing is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fastformers import kernels
from fastformers.measuring import Spread, interleave, paired_ratio, spread
from fastformers.tasks import Collator, EncodedExamples, Example, accepted_inputs

__all__ = ["Speed", "Timed", "spread_over", "time_models", "timed_with"]

_TEXTS_PER_ROUND = 6
_MOST_ROUNDS = 8
_LEAST_ROUNDS = 3

#: Milliseconds of a text, and how many times as fast as the first model.
Speed: TypeAlias = tuple[Spread, Spread]


class Timed:
    """A model with the texts it is timed on.

    Args:
        model: torch model or compiled encoder.
        encoded: texts in the model's own tokenisation.
        fixed_length: pad every text to this many tokens; ``None`` does not pad.
    """

    def __init__(self, model: Any, encoded: EncodedExamples, fixed_length: int | None = None) -> None:
        self._model = model
        collator = Collator(encoded.tokenizer, fixed_length)
        self._inputs: list[dict[str, Tensor]] = []
        for index in range(len(encoded)):
            self._inputs.append(accepted_inputs(model, collator([encoded[index]])))

    def __call__(self, index: int) -> None:
        """Runs the model on one text."""
        self._model(**self._inputs[index])


def spread_over(examples: Sequence[Example], most: int) -> Sequence[Example]:
    """Returns at most so many examples, as far apart in their file as can be."""
    return examples[:: max(1, len(examples) // most)][:most]


def time_models(
    models: Mapping[str, Timed], lengths: Sequence[int], seconds: float = 40.0
) -> dict[str, Speed]:
    """Times models on the same texts.

    Args:
        models: by name; speed-ups are over the first.
        lengths: tokens of each text, so that all rounds get the same mix; at least one.
        seconds: that all may take together, about; at least three rounds are run.

    Returns:
        Name to time of a text in ms, the median over rounds of the mean of a round's texts, and speed-up.
    """
    with _one_thread(), torch.inference_mode():
        cost = sum(_seconds_of(model, [len(lengths) // 2]) for model in models.values())
        fit = int(seconds / (cost * (_TEXTS_PER_ROUND + 1)))
        rounds = _deal(lengths, max(_LEAST_ROUNDS, min(_MOST_ROUNDS, fit)))
        readings = {name: _reading(model, rounds) for name, model in models.items()}
        taken = interleave(readings, len(rounds))
    first = next(iter(models))
    return {name: (spread(own).scaled(1e3), paired_ratio(taken[first], own)) for name, own in taken.items()}


def timed_with() -> str:
    """Returns the processor and the kernels that times are of, for people."""
    return f"{kernels.cpu_facts()['model']}, {kernels.active_isa()}"


def _deal(lengths: Sequence[int], rounds: int) -> list[list[int]]:
    """Texts of each round, spread evenly over the lengths; a text may be in several rounds where there are few."""
    by_length = sorted(range(len(lengths)), key=lambda index: lengths[index])
    step = len(by_length) / (rounds * _TEXTS_PER_ROUND)
    return [
        [by_length[int((place * rounds + number) * step)] for place in range(_TEXTS_PER_ROUND)]
        for number in range(rounds)
    ]


def _reading(model: Timed, rounds: list[list[int]]) -> Callable[[int], float]:
    return lambda number: _seconds_of(model, rounds[number])


def _seconds_of(model: Timed, texts: Sequence[int]) -> float:
    model(texts[0])  # the first call after a switch pays for the caches of the model before
    start = time.perf_counter()
    for index in texts:
        model(index)
    return (time.perf_counter() - start) / len(texts)


@contextmanager
def _one_thread() -> Iterator[None]:
    of_torch, ours = torch.get_num_threads(), kernels.num_threads()
    torch.set_num_threads(1)
    kernels.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(of_torch)
        kernels.set_num_threads(ours)
