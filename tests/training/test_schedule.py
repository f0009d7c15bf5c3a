# SPDX-License-Identifier: MIT
"""Steps, evaluations and learning rates over a run; batches of an epoch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fastformers.config import TrainConfig
from fastformers.tasks import EncodedExamples, length_batches
from fastformers.training.sampling import EpochBatches, training_batches
from fastformers.training.schedule import make_schedule, plan_of

MakeData = Callable[..., EncodedExamples]


@pytest.mark.parametrize(
    ("config", "steps", "evaluations"),
    [
        (TrainConfig(epochs=2, batch_size=4), 10, [5, 10]),
        (TrainConfig(epochs=2, batch_size=4, accumulation=2), 6, [3, 6]),
        (TrainConfig(epochs=1.5, batch_size=4), 8, [5, 8]),
        (TrainConfig(epochs=0.01, batch_size=4), 1, [1]),
        (TrainConfig(max_steps=7, batch_size=4, evaluate_every=3), 7, [3, 6, 7]),
        (TrainConfig(epochs=1, batch_size=100), 1, [1]),
    ],
)
def test_steps_and_evaluations_of_twenty_examples(
    config: TrainConfig, steps: int, evaluations: list[int]
) -> None:
    plan = plan_of(config, 20)
    assert plan.steps == steps
    assert [step for step in range(1, steps + 1) if plan.evaluates_at(step)] == evaluations


def rates(steps: int, warmup: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimizer, steps, warmup)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_then_falls_straight() -> None:
    assert rates(8, 0.5) == [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert rates(4, 0.0) == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("warmup", [0.0, 0.06, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_no_step_is_wasted(steps: int, warmup: float) -> None:
    assert min(rates(steps, warmup)) > 0
    assert max(rates(steps, warmup)) == 1.0


def test_epochs_are_shuffled_anew_and_always_the_same() -> None:
    lengths = [3, 9, 4, 4, 7, 5, 8, 2, 6]
    batches = EpochBatches(lengths, 2, seed=5)
    epochs = []
    for epoch in (0, 1, 0):
        batches.epoch = epoch
        epochs.append(list(batches))
        assert len(epochs[-1]) == len(batches) == 5
    assert epochs[0] == epochs[2] == length_batches(lengths, 2, seed=5)
    assert epochs[0] != epochs[1] == length_batches(lengths, 2, seed=6)


def test_each_example_comes_with_its_index(make_data: MakeData) -> None:
    data = make_data(10)
    for batch in training_batches(data, TrainConfig(batch_size=4)):
        for row, example in enumerate(batch["example"].tolist()):
            length = data.lengths[example]
            assert batch["input_ids"][row, :length].tolist() == data[example]["input_ids"]
            assert batch["labels"][row] == data[example]["labels"]


def test_opening_an_epoch_leaves_the_random_state_alone(make_data: MakeData) -> None:
    before = torch.get_rng_state()
    assert list(training_batches(make_data(4), TrainConfig()))
    assert torch.equal(torch.get_rng_state(), before)
