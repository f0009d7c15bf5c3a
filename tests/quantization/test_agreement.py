# SPDX-License-Identifier: MIT
"""Agreement counts what a user would call an answer, only on real tokens, and is exact on made-up answers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastformers import errors
from fastformers.quantization.agreement import Answers, compare_answers, record_answers
from fastformers.quantization.inputs import Batch, Examples


class Says(nn.Module):
    """Returns what it was made with."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return self.output


class Echo(nn.Module):
    """Returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def record(
    output: Any, rows: int, mask: Tensor | None = None, positions: tuple[int, ...] | None = None
) -> Answers:
    batch = Batch({"x": torch.zeros(rows)}, positions or tuple(range(rows)), mask)
    return record_answers(Says(output), Examples((batch,), rows, "made up"))


def test_the_same_answers_agree_fully() -> None:
    answers = record(torch.randn(9, 4), 9)
    found = compare_answers(answers, answers)
    assert (found.cosine_mean, found.nearest_neighbor, found.disagreement) == (pytest.approx(1), 1.0, 0.0)
    assert found.examples == 9


def test_changed_classes_are_counted() -> None:
    before = torch.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    after = before.clone()
    after[5] = torch.tensor([0.0, 0.4, 0.6, 0.0])
    for wrap in (
        lambda logits: logits,
        lambda logits: SimpleNamespace(last_hidden_state=logits, logits=logits),
    ):
        found = compare_answers(record(wrap(before), 8), record(wrap(after), 8))
        assert found.disagreement == 1 / 8
        assert found.disagreement_of == "the class with the largest logit"
        assert found.cosine_worst == pytest.approx(0.4 / math.hypot(0.4, 0.6))


def test_token_classes_count_real_tokens_only() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    before = torch.zeros(2, 3, 2)
    after = before.clone()
    after[0, 2, 1] = 1  # a real token
    after[1, 1, 1] = 1  # padding
    say = [
        SimpleNamespace(last_hidden_state=torch.ones(2, 3, 5), logits=logits) for logits in (before, after)
    ]
    found = compare_answers(record(say[0], 2, mask), record(say[1], 2, mask))
    assert found.disagreement == 1 / 4


def test_a_span_counts_both_ends() -> None:
    start, end, moved = torch.eye(3), torch.eye(3), torch.eye(3)[[0, 1, 0]]
    hidden = torch.ones(3, 3, 2)
    say = [
        SimpleNamespace(last_hidden_state=hidden, start_logits=start, end_logits=ends)
        for ends in (end, moved)
    ]
    assert compare_answers(record(say[0], 3), record(say[1], 3)).disagreement == 1 / 6


def test_single_scores_are_compared_by_their_order() -> None:
    def say(*scores: float) -> Any:
        return SimpleNamespace(last_hidden_state=torch.ones(4, 2), logits=torch.tensor(scores)[:, None])

    found = compare_answers(record(say(1, 2, 3, 4), 4), record(say(1, 3, 2.5, 9), 4))
    assert found.disagreement == pytest.approx(1 / 6)
    assert found.disagreement_of == "the order of two texts' scores"


def test_embeddings_are_means_over_real_tokens_and_compared_by_nearest_neighbor() -> None:
    hidden = torch.zeros(4, 2, 2)
    hidden[:, 0] = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    hidden[:, 1] = 77.0  # padding
    mask = torch.tensor([[True, False]] * 4)
    before = record(SimpleNamespace(last_hidden_state=hidden), 4, mask)
    assert torch.equal(before.embeddings, hidden[:, 0])
    moved = hidden.clone()
    moved[3, 0] = torch.tensor([0.7, 0.6])
    found = compare_answers(before, record(SimpleNamespace(last_hidden_state=moved), 4, mask))
    assert found.disagreement_of == "the nearest other text"
    assert found.disagreement == 1 - found.nearest_neighbor
    assert found.nearest_neighbor == 0.75  # the last one went over to the second


def test_answers_are_put_in_the_order_of_the_examples() -> None:
    found = record(torch.arange(6.0).reshape(3, 2), 3, positions=(2, 0, 1))
    assert found.embeddings[:, 0].tolist() == [2, 4, 0]


def test_the_encoders_output_is_looked_at_below_a_head() -> None:
    class WithEncoder(Says):
        base_model = nn.Identity()

        def forward(self, x: Tensor) -> Any:
            self.base_model((torch.full((3, 2, 4), 5.0), x))
            return SimpleNamespace(logits=torch.eye(3))

    batch = Batch({"x": torch.zeros(3)}, (0, 1, 2), None)
    found = record_answers(WithEncoder(None), Examples((batch,), 3, "made up"))
    assert torch.equal(found.embeddings, torch.full((3, 4), 5.0))
    assert not WithEncoder.base_model._forward_hooks


@pytest.mark.parametrize("output", ["text", None, [], {"a": 1}, torch.ones(3, dtype=torch.int64).tolist()])
def test_outputs_without_numbers_are_refused(output: Any) -> None:
    with pytest.raises(errors.CalibrationError, match="cannot compare outputs"):
        record(output, 3)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_score_of_any_torch_model_is_compared_by_its_order(shape: tuple[int, ...]) -> None:
    def say(*scores: float) -> Tensor:
        return torch.tensor(scores).reshape(shape)

    found = compare_answers(record(say(1, 2, 3, 4), 4), record(say(1, 3, 2.5, 9), 4))
    assert found.disagreement == pytest.approx(1 / 6)
    assert found.disagreement_of == "the order of two texts' scores"


def test_logits_in_a_plain_dict_are_the_answer() -> None:
    def say(logits: Tensor) -> dict[str, Tensor]:
        return {"hidden": torch.ones(3, 2), "logits": logits}

    found = compare_answers(record(say(torch.eye(3)), 3), record(say(torch.eye(3)[[0, 2, 2]]), 3))
    assert found.disagreement == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("BertForSequenceClassification", "the class with the largest logit"),
        ("BertForQuestionAnswering", "the class with the largest logit"),
        ("BertForMultipleChoice", "the class with the largest logit"),
        ("BertModel", "the nearest other text"),
    ],
)
def test_a_model_that_returns_tuples_has_the_same_answers(name: str, of: str) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=32, max_position_embeddings=32)
    model = getattr(transformers, name)(config).eval()
    ids = torch.randint(1, 50, (4, 3, 6) if "Choice" in name else (4, 6))
    examples = Examples((Batch({"input_ids": ids}, (0, 1, 2, 3), None),), 4, "made up")
    with_names = record_answers(model, examples)
    model.config.return_dict = False
    found = compare_answers(with_names, record_answers(model, examples))
    assert (found.disagreement, found.disagreement_of) == (0, of)


def test_outputs_that_are_not_one_for_each_example_are_refused() -> None:
    with pytest.raises(errors.CalibrationError, match=r"shape \[5, 2\] for 3 examples.*first dimension"):
        record(torch.ones(5, 3, 2), 3)
    with pytest.raises(errors.CalibrationError, match=r"shape \[4, 3\] for 8 examples"):
        record(torch.ones(4, 3), 8)


def test_outputs_of_several_sizes_are_refused() -> None:
    batches = tuple(Batch({"x": torch.zeros(2, size)}, (size, size + 1), None) for size in (5, 7))
    with pytest.raises(errors.CalibrationError, match="5 to 7 numbers an example"):
        record_answers(Echo(), Examples(batches, 4, "made up"))


def test_outputs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(errors.CalibrationError, match="NaN"):
        record(torch.full((3, 2), float("nan")), 3)


def test_a_model_that_fails_is_told_so() -> None:
    batch = Batch({"input": torch.zeros(3, 7)}, (0, 1, 2), None)
    with pytest.raises(
        errors.CalibrationError, match=r"Linear fails on the calibration examples \(RuntimeError"
    ):
        record_answers(nn.Linear(4, 4), Examples((batch,), 3, "made up"))
