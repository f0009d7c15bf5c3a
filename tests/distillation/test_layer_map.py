# SPDX-License-Identifier: MIT
"""Layer maps: any two depths, in order, last to last; pairs that do not fit are refused."""

from __future__ import annotations

import pytest

from fastformers.distillation import layer_pairs
from fastformers.errors import ConfigError


@pytest.mark.parametrize("student", [1, 2, 3, 4, 5, 6, 7, 12, 13, 24])
@pytest.mark.parametrize("teacher", [1, 2, 4, 5, 6, 12, 22])
def test_any_two_depths_are_mapped_in_order_and_the_last_layer_to_the_last(
    student: int, teacher: int
) -> None:
    pairs = layer_pairs("auto", student, teacher)
    theirs = [other for _, other in pairs]
    assert [one for one, _ in pairs] == list(range(student))
    assert theirs == sorted(theirs)
    assert theirs[-1] == teacher - 1
    assert theirs[0] >= 0
    steps = [later - earlier for earlier, later in zip([-1, *theirs], theirs, strict=False)]
    assert max(steps) - min(steps) <= 1


def test_where_depths_divide_each_layer_learns_from_the_end_of_its_block() -> None:
    assert layer_pairs("auto", 4, 12) == ((0, 2), (1, 5), (2, 8), (3, 11))


def test_pairs_given_are_taken() -> None:
    assert layer_pairs([(2, 11), (0, 3)], 3, 12) == ((2, 11), (0, 3))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "empty"),
        ([(3, 0)], "layers 0 to 2"),
        ([(0, 12)], "teacher 0 to 11"),
        ([(-1, 0)], r"\(-1, 0\)"),
        ([(0, 1), (0, 2)], "twice"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(pairs: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        layer_pairs(pairs, 3, 12)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="without layers"):
        layer_pairs("auto", 0, 12)
