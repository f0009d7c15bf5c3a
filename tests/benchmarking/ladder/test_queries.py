# SPDX-License-Identifier: MIT
"""Which texts a ladder measures: an even sample, and whole groups of texts that are answered together."""

from __future__ import annotations

from fastformers.benchmarking.ladder.queries import queries_of
from fastformers.tasks import Example, get_task


def test_a_sample_has_as_many_texts_as_asked_for_of_all_lengths() -> None:
    examples = [Example(str(index), "x") for index in range(100)]
    found = queries_of(examples, range(1, 101), None, 10, seed=0)
    assert [(length - 1) // 10 for length in found.lengths] == list(range(10))
    assert found.total == 100
    assert [int(example.guid) + 1 for example in found.examples] == list(found.lengths)


def test_texts_that_are_answered_together_are_taken_together() -> None:
    """Half a group has another score: one question of COPA without its right choice cannot be answered."""
    examples = [
        Example(f"{group}-{choice}", "x", "y", label=choice, group=str(group))
        for group in range(50)
        for choice in (0, 1)
    ]
    lengths = [10 + group for group in range(50) for _ in (0, 1)]
    found = queries_of(examples, lengths, get_task("copa-choices"), 21, seed=0)
    assert len(found) == 20
    groups = [example.group for example in found.examples]
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 10
    assert [int(group) // 5 for group in groups[::2]] == list(range(10))


def test_one_group_is_left_where_fewer_texts_are_asked_for_than_it_has() -> None:
    examples = [Example(str(index), "x", group="abc"[index // 4]) for index in range(12)]
    found = queries_of(examples, [5] * 12, None, 2, seed=0)
    assert len(found) == 4
    assert len({example.group for example in found.examples}) == 1
