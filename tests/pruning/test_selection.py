# SPDX-License-Identifier: MIT
"""The best units stay, in the numbers asked for; the same everywhere, or where they are worth most."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastformers as ff
from fastformers.errors import ConfigError
from fastformers.modules.layer_shapes import LayerShape
from fastformers.pruning.scores import LayerScores, UnitScores
from fastformers.pruning.selection import KeptUnits, select_units

SHAPES = (LayerShape(4, 8, 6), LayerShape(4, 8, 6))
HEADS = ([1.0, 9.0, 3.0, 8.0], [40.0, 10.0, 30.0, 20.0])
FFN = ([0.1, 0.6, 0.2, 0.5, 0.3, 0.4], [6.0, 1.0, 5.0, 2.0, 4.0, 3.0])


def select(shared_heads: bool = False, **options: Any) -> tuple[KeptUnits, ...]:
    scores = [
        LayerScores(torch.tensor(heads).double(), torch.tensor(ffn).double())
        for heads, ffn in zip(HEADS, FFN, strict=True)
    ]
    config = ff.PruneConfig(**{"min_ffn": 1, **options})
    return select_units(
        UnitScores(tuple(scores), 1), SHAPES, config, hidden=32, gated=False, shared_heads=shared_heads
    )


def counts(kept: tuple[KeptUnits, ...]) -> list[tuple[int, int]]:
    return [(len(layer.heads), len(layer.ffn)) for layer in kept]


def test_every_layer_keeps_its_best_in_their_order() -> None:
    assert select(heads=2, ffn=3) == (KeptUnits((1, 3), (1, 3, 5)), KeptUnits((0, 2), (0, 2, 4)))


def test_what_is_not_asked_for_stays_whole() -> None:
    assert counts(select(heads=1)) == [(1, 6), (1, 6)]
    assert counts(select(ffn=2)) == [(4, 2), (4, 2)]
    assert counts(select(ffn=2, ranking="global"))[0][0] == 4


def test_of_equal_units_the_first_stay() -> None:
    scores = UnitScores((LayerScores(torch.ones(4).double(), torch.ones(6).double()),), 1)
    config = ff.PruneConfig(heads=2, ffn=3, min_ffn=1)
    kept = select_units(scores, SHAPES[:1], config, hidden=32, gated=False, shared_heads=False)
    assert kept == (KeptUnits((0, 1), (0, 1, 2)),)


@pytest.mark.parametrize(
    ("share", "options", "count"),
    [
        (0.5, {}, 3),
        (0.6, {}, 4),
        (0.01, {}, 1),
        (0.99, {}, 6),
        (0.5, {"min_ffn": 5}, 5),
        (0.5, {"ffn_multiple": 2}, 4),
        (0.3, {"ffn_multiple": 2}, 2),
        (0.1, {"ffn_multiple": 4}, 4),
    ],
)
def test_shares_are_rounded_and_never_below_the_least(
    share: float, options: dict[str, int], count: int
) -> None:
    assert counts(select(ffn=share, **options)) == [(4, count)] * 2


def test_global_ranking_keeps_the_best_of_all_layers() -> None:
    assert counts(select(heads=2, ffn=3, ranking="global")) == [(1, 1), (3, 5)]
    assert counts(select(heads=2, ffn=3, ranking="global", min_heads=2, min_ffn=3)) == [(2, 3), (2, 3)]
    assert counts(select(heads=0.5, ffn=0.5, ranking="global")) == [(1, 1), (3, 5)]
    assert counts(select(ffn=4, ranking="global", ffn_multiple=2)) == [(4, 2), (4, 6)]


def test_scores_without_a_unit_compete_by_their_share_of_the_layer() -> None:
    assert counts(select(heads=2, ranking="global", scores="magnitude"))[0][0] == 2


def test_a_budget_goes_to_what_is_worth_most_for_its_work() -> None:
    # A head costs 4 * 32 * 8 = 1024, a neuron 64; all together 2 * (4096 + 384) = 8960.
    kept = select(ranking="global", macs=0.5)
    assert sum(1024 * heads + 64 * ffn for heads, ffn in counts(kept)) <= 4480
    # By squares per multiplication layer 1's heads of 30 and 20 and its neurons of 5, 4, 3 and 2 come first: 2304.
    assert counts(kept) == [(1, 1), (3, 5)]
    assert counts(select(ranking="global", macs=0.99)) == [(4, 4), (4, 6)]


def test_many_small_units_do_not_outweigh_a_large_one_of_their_cost() -> None:
    # Sixteen neurons cost as much as a head; their absolute scores add up to more, their squares to less.
    shapes = (LayerShape(2, 8, 16),)
    scores = LayerScores(torch.tensor([2.0, 1.0]).double(), torch.full((16,), 0.1).double())
    config = ff.PruneConfig(ranking="global", macs=0.7, min_ffn=1)
    (kept,) = select_units(
        UnitScores((scores,), 1), shapes, config, hidden=32, gated=False, shared_heads=False
    )
    assert len(kept.heads) == 2


def test_shared_heads_go_by_the_sum_of_their_scores() -> None:
    kept = select(shared_heads=True, heads=2, ffn=3)
    assert [layer.heads for layer in kept] == [(0, 2)] * 2  # 41, 19, 33, 28: not those of the first layer
    assert counts(select(shared_heads=True, ranking="global", macs=0.6)) == [(2, 6), (2, 6)]


def test_more_than_there_is_cannot_stay() -> None:
    with pytest.raises(ConfigError, match="layer 0 has 4 heads; heads=5"):
        select(heads=5)
    with pytest.raises(ConfigError, match="every layer has 4 heads; heads=5"):
        select(heads=5, shared_heads=True)
    with pytest.raises(ConfigError, match="12 neurons together; ffn=7 for each of 2"):
        select(ffn=7, ranking="global")
    with pytest.raises(ConfigError, match=r"min_heads, min_ffn\) is 24\.3%"):
        select(ranking="global", macs=0.2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 0}, r"heads is 0; allowed: a whole number from min_heads=1"),
        ({"heads": True}, "heads is True"),
        ({"heads": 1.0}, r"heads is 1\.0"),
        ({"heads": -0.5}, "heads is -0.5"),
        ({"heads": float("nan")}, "heads is nan"),
        ({"heads": 1.5}, "heads is 1.5"),
        ({"heads": "6"}, "heads is '6'"),
        ({"ffn": 4}, "whole number from min_ffn=8"),
        ({"ffn": 12, "ffn_multiple": 8}, "a multiple of ffn_multiple=8"),
        ({"macs": 0.5}, 'only with ranking="global"'),
        ({"macs": 0.5, "ranking": "global", "heads": 2}, "instead of heads and ffn"),
        ({"macs": 1.5, "ranking": "global"}, "between 0 and 1"),
        ({"ranking": "best"}, "'layer', 'global'"),
        ({"scores": "taylor"}, "'first_order', 'magnitude', 'activation', 'random'"),
        ({"min_heads": 0}, "min_heads is 0"),
        ({"max_examples": 0}, "max_examples is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ff.PruneConfig(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"heads": 2, "ffn_multiple": 8},
            "ffn_multiple is 8, and nothing reads it: give ffn or macs, or leave",
        ),
        ({"ranking": "global"}, "ranking is 'global', and nothing reads it: give heads or ffn or macs"),
    ],
)
def test_choices_that_nothing_reads_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ff.PruneConfig(**options)


def test_a_config_goes_through_plain_values() -> None:
    config = ff.PruneConfig(heads=3, ffn=0.5, ffn_multiple=8)
    assert ff.PruneConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="did you mean 'heads'"):
        ff.PruneConfig.from_dict({"head": 3})
