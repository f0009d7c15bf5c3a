# SPDX-License-Identifier: MIT
"""``train_`` learns, keeps the best weights, stops when it should, and gives the same weights again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fastformers.config import TrainConfig
from fastformers.files.strict_json import json_bytes, parse_json
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.tasks import EncodedExamples, Example, encode, evaluate, get_task, predict_logits
from fastformers.tasks.custom import task_with_labels
from fastformers.training import Objective, TaskObjective, train_
from fastformers.training import train as train_module

MakeData = Callable[..., EncodedExamples]
MakeModel = Callable[..., Any]

LEARNS = TrainConfig(epochs=6, learning_rate=3e-3, batch_size=8)
SHORT = TrainConfig(max_steps=4, learning_rate=1e-3, batch_size=4)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def scores_are(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[dict[str, Tensor]]:
    """Lets evaluations give these scores; returns the list of the weights that each one saw."""
    seen: list[dict[str, Tensor]] = []
    left = iter(scores)

    def scorer(model: nn.Module, *_: Any) -> Callable[[], dict[str, float]]:
        def score() -> dict[str, float]:
            seen.append(weights_of(model))
            return {"score": next(left)}

        return score

    monkeypatch.setattr(train_module, "_scorer", scorer)
    return seen


@contextmanager
def step_hook(hook: Callable[[Any], None]) -> Iterator[None]:
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: hook(optimizer))
    try:
        yield
    finally:
        handle.remove()


def test_loss_falls_and_the_score_rises_above_chance(make_model: MakeModel, make_data: MakeData) -> None:
    model, val = make_model(), make_data(60, 1)
    report = train_(model, make_data(120), val, LEARNS)
    assert report.history[-1]["loss"] < 0.6 * report.history[0]["loss"]
    assert report.score is not None
    assert report.score > 90
    score = evaluate(val.task, val.examples, predict_logits(model, val, 8))
    assert score["score"] == report.score
    assert {name: score[name] for name in report.metrics} == report.metrics


def test_the_model_is_left_ready_for_use(make_model: MakeModel, make_data: MakeData) -> None:
    model = make_model()
    train_(model, make_data(16), None, SHORT)
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_best_weights_are_kept(
    make_model: MakeModel, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scores_are(monkeypatch, [10.0, 30.0, 20.0, 30.0])
    model = make_model()
    report = train_(model, make_data(16), make_data(4), replace(SHORT, evaluate_every=1))
    assert (report.score, report.best_step, report.steps) == (30.0, 2, 4)
    assert same_weights(weights_of(model), seen[1])
    assert not same_weights(seen[1], seen[3])


def test_without_a_validation_set_the_last_weights_are_kept(
    make_model: MakeModel, make_data: MakeData
) -> None:
    model, last = make_model(), []
    report = train_(model, make_data(16), None, SHORT, progress=lambda *_: last.append(weights_of(model)))
    assert (report.score, report.best_step) == (None, 4)
    assert len(last) == 4
    assert same_weights(weights_of(model), last[-1])


def test_patience_stops_the_run(
    make_model: MakeModel, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_are(monkeypatch, [10.0, 30.0, 20.0, 30.0, 29.0, 99.0])
    config = replace(SHORT, max_steps=20, evaluate_every=2, patience=3)
    report = train_(make_model(), make_data(16), make_data(4), config)
    assert report.stopped_early
    assert (report.steps, report.best_step, len(report.history)) == (10, 4, 5)


def test_patience_that_ends_with_the_plan_is_no_early_stop(
    make_model: MakeModel, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_are(monkeypatch, [30.0, 20.0])
    report = train_(make_model(), make_data(16), make_data(4), replace(SHORT, evaluate_every=2, patience=1))
    assert not report.stopped_early


class DoubleLoss(Objective):
    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        return functional.cross_entropy(model(**inputs).logits, batch["labels"])


def test_accumulation_is_one_big_batch_even_where_its_parts_are_uneven(
    make_model: MakeModel, make_data: MakeData
) -> None:
    results = []
    for batch_size, accumulation in ((12, 1), (5, 3)):
        model = make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).double()
        config = replace(SHORT, batch_size=batch_size, accumulation=accumulation, max_grad_norm=0.1)
        report = train_(model, make_data(12), None, config, objective=DoubleLoss())
        results.append((weights_of(model), report.history[-1]["loss"]))
    (one, one_loss), (other, other_loss) = results
    # float64, summed over 12 examples at once or over 5, 5 and 2: 5e-16 of weights up to 1 when measured.
    assert one_loss == pytest.approx(other_loss, abs=1e-12)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("most", "clipped"), [(1e-3, True), (0.0, False)])
def test_gradients_are_clipped_to_the_norm_asked_for(
    make_model: MakeModel, make_data: MakeData, most: float, clipped: bool
) -> None:
    norms = []

    def note(optimizer: Any) -> None:
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        norms.append(
            float(torch.stack([one.grad.norm() for one in parameters if one.grad is not None]).norm())
        )

    with step_hook(note):
        train_(make_model(), make_data(16), None, replace(SHORT, max_grad_norm=most))
    assert len(norms) == 4
    assert all(norm <= 1.001e-3 for norm in norms) is clipped


def test_a_seed_gives_the_same_weights_and_another_one_others(
    make_model: MakeModel, make_data: MakeData
) -> None:
    results = []
    for seed in (1, 1, 2):
        model = make_model()
        train_(model, make_data(16), None, replace(SHORT, seed=seed))
        results.append(weights_of(model))
    assert same_weights(results[0], results[1])
    assert not same_weights(results[0], results[2])


def test_global_random_states_are_left_as_they_were(make_model: MakeModel, make_data: MakeData) -> None:
    def states() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    train_(make_model(), make_data(8), None, SHORT)
    assert states() == before


def test_only_matrices_decay(make_model: MakeModel, make_data: MakeData) -> None:
    decays: dict[int, set[float]] = {1: set(), 2: set()}

    def note(optimizer: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                decays[parameter.dim()].add(group["weight_decay"])

    with step_hook(note):
        train_(make_model(), make_data(8), None, replace(SHORT, weight_decay=0.3))
    assert decays == {1: {0.0}, 2: {0.3}}


def test_frozen_parameters_stay(make_model: MakeModel, make_data: MakeData) -> None:
    model = make_model()
    model.bert.embeddings.requires_grad_(False)
    before = weights_of(model)
    train_(model, make_data(16), None, SHORT)
    after = weights_of(model)
    assert {name for name in after if torch.equal(before[name], after[name])} == {
        name for name in after if name.startswith("bert.embeddings.")
    }


def test_fixed_length_pads_every_batch(make_model: MakeModel, make_data: MakeData) -> None:
    model, lengths = make_model(), set()
    model.register_forward_pre_hook(
        lambda _, __, named: lengths.add(named["input_ids"].shape[1]), with_kwargs=True
    )
    train_(model, make_data(16), make_data(8), replace(SHORT, fixed_length=20))
    assert lengths == {20}
    lengths.clear()
    train_(model, make_data(64), make_data(8), SHORT)
    assert len(lengths) > 1
    assert max(lengths) < 16


class Widened(Objective):
    """Reads the model's logits through a layer of its own, and notes the examples it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(2, 2)
        self.seen: list[int] = []

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        self.seen += batch["example"].tolist()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return functional.cross_entropy(self.projection(model(**inputs).logits), batch["labels"])


def test_an_objective_has_parameters_that_learn_and_sees_each_example_once_an_epoch(
    make_model: MakeModel, make_data: MakeData
) -> None:
    objective = Widened()
    before = weights_of(objective)
    train_(make_model(), make_data(10), None, TrainConfig(epochs=2, batch_size=4), objective=objective)
    assert not same_weights(before, weights_of(objective))
    assert sorted(objective.seen[:10]) == sorted(objective.seen[10:]) == list(range(10))
    assert objective.seen[:10] != objective.seen[10:]


def test_an_objective_that_needs_no_labels_gets_unlabelled_examples(
    make_model: MakeModel, tokenizer: Any
) -> None:
    class Flat(Objective):
        def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            assert "labels" not in batch
            logits: Tensor = model(batch["input_ids"], batch["attention_mask"]).logits
            return logits.square().mean()

    unlabelled = encode(
        [Example("1", "the cat", None, None)] * 4, tokenizer, task_with_labels(("a", "b")), max_length=8
    )
    report = train_(make_model(), unlabelled, None, SHORT, objective=Flat())
    assert report.steps == 4


def test_span_classifiers_train(make_model: MakeModel, tokenizer: Any) -> None:
    task = get_task("wic")
    text, other = "the bank ran on", "who sat so"
    examples = [
        Example(str(n), text, other, n % 2, spans=((4 + 5 * (n % 2), 8 + 4 * (n % 2)), (0, 3)))
        for n in range(16)
    ]
    encoded = encode(examples, tokenizer, task, max_length=16)
    model = SpanClassifier(make_model("AutoModel"), 2, 2, dropout=0.0)
    report = train_(model, encoded, encoded, replace(LEARNS, epochs=10))
    assert report.score is not None
    assert report.score > 90


def test_numbers_are_learned(make_model: MakeModel, make_data: MakeData, tokenizer: Any) -> None:
    numbers = task_with_labels(())
    examples = [replace(example, label=2.0 * float(example.label or 0)) for example in make_data(80).examples]
    encoded = encode(examples, tokenizer, numbers, max_length=16)
    model = make_model(num_labels=1)
    report = train_(model, encoded, encoded, replace(LEARNS, epochs=12))
    assert report.score is not None
    assert report.score > 80
    batch = {"input_ids": torch.tensor([[2, 5, 3]]), "labels": torch.tensor([3.0])}
    expected = (model(batch["input_ids"]).logits[0, 0] - 3.0) ** 2
    torch.testing.assert_close(TaskObjective()(model, batch), expected)


def test_the_report_is_json_and_says_the_score(make_model: MakeModel, make_data: MakeData) -> None:
    report = train_(make_model(), make_data(16), make_data(8), replace(SHORT, evaluate_every=2))
    content = report.to_dict()
    assert parse_json(json_bytes(content), "log") == content
    assert f"accuracy {report.score:.2f} on 8 examples" in str(report)
    assert [row["step"] for row in report.history] == [2, 4]
    assert TrainConfig.from_dict(content["config"]) == report.config


def test_a_label_that_no_validation_example_has_is_noted(make_model: MakeModel, make_data: MakeData) -> None:
    val = make_data(8)
    good = val.subset([place for place, example in enumerate(val.examples) if example.label == 1])
    report = train_(make_model(), make_data(16), good, SHORT)
    assert "no validation example has the label 'bad': " in str(report)
    assert train_(make_model(), make_data(16), None, SHORT).notes == ()


def test_every_step_is_told(make_model: MakeModel, make_data: MakeData) -> None:
    told: list[tuple[str, int, int]] = []
    train_(make_model(), make_data(16), None, SHORT, progress=lambda *step: told.append(step))
    assert told == [("train", step, 4) for step in range(1, 5)]


def test_the_environment_does_not_choose_another_precision(
    make_model: MakeModel, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights() -> dict[str, Tensor]:
        model = make_model()
        train_(
            model,
            make_data(12),
            None,
            TrainConfig(max_steps=2, batch_size=4, precision="float32", device="cpu"),
        )
        return weights_of(model)

    expected = weights()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert same_weights(weights(), expected)
