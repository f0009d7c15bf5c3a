# SPDX-License-Identifier: MIT
"""The texts of a ladder: what each row answers, and which of them in which round.

Every round gets the same mix of lengths, so that rounds differ by the machine and not by the texts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from fastformers.span_text import SpanText
from fastformers.tasks import Example, Task
from fastformers.tokenization import Text

__all__ = ["Queries", "deal", "queries_of", "sample_by_length", "text_of"]

_LEAST_REQUESTS = 8


@dataclass(frozen=True)
class Queries:
    """What is asked.

    Attributes:
        examples: labelled or not.
        texts: the same as an engine takes them.
        lengths: tokens of each, as the uncompressed model cuts them.
        total: texts of the set, of which these may be a sample.
    """

    examples: tuple[Example, ...]
    texts: tuple[Text, ...]
    lengths: tuple[int, ...]
    total: int

    def __len__(self) -> int:
        return len(self.texts)


def queries_of(
    examples: Sequence[Example],
    lengths: Sequence[int],
    task: Task | None,
    most_texts: int | None,
    seed: int,
) -> Queries:
    """Makes queries of examples.

    Args:
        examples: at least one.
        lengths: tokens of each.
        task: of which they are; says in which text a span lies.
        most_texts: take an even sample over the lengths; ``None`` takes all. Texts that are answered together (MultiRC,
            ReCoRD, COPA by choices) are taken together, or their scores would mean nothing: about so many texts then.
        seed: of that sample.
    """
    chosen = list(range(len(examples)))
    if most_texts is not None and most_texts < len(examples):
        groups = _answered_together(examples)
        means = [sum(lengths[index] for index in group) / len(group) for group in groups]
        count = max(1, most_texts * len(groups) // len(examples))
        chosen = sorted(chain.from_iterable(groups[place] for place in sample_by_length(means, count, seed)))
    kept = tuple(examples[index] for index in chosen)
    return Queries(
        kept, tuple(text_of(each, task) for each in kept), tuple(lengths[i] for i in chosen), len(examples)
    )


def _answered_together(examples: Sequence[Example]) -> list[list[int]]:
    """Indices of each group of examples; one without a group is alone."""
    groups: dict[str | int, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.group or index, []).append(index)
    return list(groups.values())


def text_of(example: Example, task: Task | None) -> Text:
    """Returns an example as an engine takes it: a text, a pair, or a text with marked spans."""
    if example.spans:
        span_texts = None if task is None else task.span_texts
        return SpanText(example.text, example.spans, example.text_pair, span_texts)
    return example.text if example.text_pair is None else (example.text, example.text_pair)


def sample_by_length(lengths: Sequence[float], count: int, seed: int) -> list[int]:
    """Draws texts evenly over the lengths: one at random out of each of ``count`` equal stretches, sorted by length.

    Args:
        lengths: of all texts.
        count: how many to draw, at most as many as there are.
        seed: of the drawing.

    Returns:
        Indices, the shortest text first.

    Example:
        >>> sample_by_length([5, 1, 3, 2], 4, seed=0)
        [1, 3, 2, 0]
    """
    by_length = sorted(range(len(lengths)), key=lambda index: lengths[index])
    draw = random.Random(seed)
    bounds = [place * len(by_length) // count for place in range(count + 1)]
    return [by_length[draw.randrange(low, high)] for low, high in pairwise(bounds)]


def deal(by_length: Sequence[int], rounds: int, request_size: int = 1) -> list[list[int]]:
    """Deals texts to rounds like cards, there and back, so that all rounds get the same mix of lengths.

    Args:
        by_length: indices of texts, sorted by their length.
        rounds: how many.
        request_size: texts of a request. Where a round would get fewer than 8 requests, every round gets all texts.

    Example:
        >>> deal(range(16), 2)
        [[0, 3, 4, 7, 8, 11, 12, 15], [1, 2, 5, 6, 9, 10, 13, 14]]
    """
    if len(by_length) < rounds * _LEAST_REQUESTS * request_size:
        return [list(by_length) for _ in range(rounds)]
    hands: list[list[int]] = [[] for _ in range(rounds)]
    for place, index in enumerate(by_length):
        turn, seat = divmod(place, rounds)
        hands[seat if turn % 2 == 0 else rounds - 1 - seat].append(index)
    return hands
