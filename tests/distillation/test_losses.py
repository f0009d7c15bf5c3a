# SPDX-License-Identifier: MIT
"""Each loss equals a loop written by hand, ignores padding, and is zero where student and teacher agree."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastformers.distillation.losses import (
    attention_loss,
    cosine_loss,
    mse_loss,
    relation_heads,
    relation_loss,
    score_loss,
    soft_loss,
)
from fastformers.errors import ConfigError, ShapeError

LENGTHS = (5, 2, 4)
MASK = (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).long()
#: Sums of up to some hundred terms in float32, against loops in float64 over the same float32 numbers.
IN_FLOAT32 = 1e-5
#: What is left of a zero: one less a cosine, or the logarithm of a quotient, that float32 rounds beside 1.
NOTHING = 1e-6
TokenLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(values: list[float]) -> list[float]:
    shares = [math.exp(value) for value in values]
    return [share / sum(shares) for share in shares]


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def probabilities(seed: int, mask: Tensor = MASK) -> Tensor:
    scores = random(mask.shape[0], 2, mask.shape[1], mask.shape[1], seed=seed)
    return scores.masked_fill(~mask[:, None, None, :].bool(), -1e9).softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_loss_is_the_cross_entropy_of_softened_classes_times_the_squared_temperature(
    temperature: float,
) -> None:
    student, teacher = random(4, 3), random(4, 3, seed=1)
    expected = []
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        targets = softmax([value / temperature for value in theirs])
        guesses = softmax([value / temperature for value in ours])
        entropy = -sum(t * math.log(g) for t, g in zip(targets, guesses, strict=True))
        expected.append(temperature**2 * entropy)
    torch.testing.assert_close(soft_loss(student, teacher, temperature), torch.tensor(expected))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_of_the_soft_loss_is_zero_where_student_and_teacher_agree(temperature: float) -> None:
    teacher = random(4, 3)
    student = (teacher + 7.0).requires_grad_()  # a shift of all logits changes no probability
    soft_loss(student, teacher, temperature).sum().backward()
    # Both softmaxes are rounded to float32 on their own: two roundings of probabilities, times the temperature.
    torch.testing.assert_close(student.grad, torch.zeros(4, 3), atol=1e-6, rtol=0)


def test_the_soft_loss_of_large_logits_is_finite() -> None:
    assert soft_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])).item() == pytest.approx(2e4)


def test_no_gradient_flows_into_the_teacher() -> None:
    student, teacher = random(3, 2).requires_grad_(), random(3, 2, seed=1).requires_grad_()
    soft_loss(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_score_loss_is_the_squared_difference() -> None:
    torch.testing.assert_close(
        score_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [4.0]])), torch.tensor([0.25, 4.0])
    )


def test_mse_loss_equals_a_loop_over_the_real_tokens() -> None:
    student, teacher = random(3, 5, 4), random(3, 5, 4, seed=1)
    terms = [
        (student[row, token, channel].item() - teacher[row, token, channel].item()) ** 2
        for row, length in enumerate(LENGTHS)
        for token in range(length)
        for channel in range(4)
    ]
    assert mse_loss(student, teacher, MASK).item() == pytest.approx(sum(terms) / len(terms), rel=IN_FLOAT32)


def test_cosine_loss_equals_a_loop_over_the_real_tokens() -> None:
    student, teacher = random(3, 5, 4), random(3, 5, 4, seed=1)
    terms = [
        1 - cosine(student[row, token].tolist(), teacher[row, token].tolist())
        for row, length in enumerate(LENGTHS)
        for token in range(length)
    ]
    assert cosine_loss(student, teacher, MASK).item() == pytest.approx(
        sum(terms) / len(terms), rel=IN_FLOAT32
    )


def test_attention_loss_equals_a_loop_over_heads_and_real_queries() -> None:
    student, teacher = probabilities(0), probabilities(1)
    terms = [
        1 - cosine(student[row, head, query, :length].tolist(), teacher[row, head, query, :length].tolist())
        for row, length in enumerate(LENGTHS)
        for head in range(2)
        for query in range(length)
    ]
    assert attention_loss(student, teacher, MASK).item() == pytest.approx(
        sum(terms) / len(terms), rel=IN_FLOAT32
    )


def relations_by_hand(vectors: Tensor, length: int, heads: int, head: int) -> list[list[float]]:
    size = vectors.shape[-1] // heads
    rows = vectors[:length, head * size : (head + 1) * size].tolist()
    return [
        softmax([sum(a * b for a, b in zip(one, other, strict=True)) / math.sqrt(size) for other in rows])
        for one in rows
    ]


def test_relation_loss_equals_a_loop_over_relation_heads_and_real_tokens() -> None:
    student, teacher, heads = random(3, 5, 6), random(3, 5, 12, seed=1), 3
    terms = []
    for row, length in enumerate(LENGTHS):
        for head in range(heads):
            ours = relations_by_hand(student[row], length, heads, head)
            theirs = relations_by_hand(teacher[row], length, heads, head)
            terms += [
                sum(t * math.log(t / o) for t, o in zip(their, our, strict=True))
                for their, our in zip(theirs, ours, strict=True)
            ]
    found = relation_loss(student, teacher, MASK, heads).item()
    assert found == pytest.approx(sum(terms) / len(terms), rel=IN_FLOAT32)


def relations_of_three_heads(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return relation_loss(student, teacher, mask, 3)


@pytest.mark.parametrize("loss", [mse_loss, cosine_loss, relations_of_three_heads])
@pytest.mark.parametrize("filling", [0.0, 1e3, float("nan")])
def test_padding_changes_no_loss_of_tokens_whatever_it_holds(loss: TokenLoss, filling: float) -> None:
    student, teacher = random(3, 5, 6), random(3, 5, 6, seed=1)
    padded = [torch.cat([each, torch.full((3, 4, 6), filling)], 1) for each in (student, teacher)]
    wider = torch.cat([MASK, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(loss(padded[0], padded[1], wider), loss(student, teacher, MASK))


@pytest.mark.parametrize("loss", [mse_loss, cosine_loss, relations_of_three_heads])
def test_no_gradient_flows_into_padding(loss: TokenLoss) -> None:
    student = random(3, 5, 6).requires_grad_()
    loss(student, random(3, 5, 6, seed=1), MASK).backward()
    assert student.grad is not None
    assert not student.grad[~MASK.bool()].any()
    assert student.grad[MASK.bool()].any(-1).all()


def test_padding_changes_no_loss_of_attention() -> None:
    wider = torch.cat([MASK, torch.zeros(3, 3, dtype=torch.long)], 1)
    student, teacher = probabilities(0, wider), probabilities(1, wider)
    narrow = [each[:, :, :5, :5] for each in (student, teacher)]
    torch.testing.assert_close(
        attention_loss(student, teacher, wider), attention_loss(narrow[0], narrow[1], MASK)
    )


@pytest.mark.parametrize("loss", [mse_loss, cosine_loss, relations_of_three_heads])
def test_a_student_equal_to_its_teacher_loses_nothing(loss: TokenLoss) -> None:
    states = random(3, 5, 6)
    assert loss(states, states.clone(), MASK).item() == pytest.approx(0.0, abs=NOTHING)


def test_equal_attention_loses_nothing() -> None:
    assert attention_loss(probabilities(0), probabilities(0), MASK).item() == pytest.approx(0.0, abs=NOTHING)


@pytest.mark.parametrize(
    ("widths", "most", "heads"),
    [((384, 768), 12, 12), ((234, 312), 12, 6), ((32, 31), 12, 1), ((8, 64), 4, 4)],
)
def test_relation_heads_divide_both_widths(widths: tuple[int, int], most: int, heads: int) -> None:
    assert relation_heads(*widths, most) == heads


def test_relation_heads_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        relation_heads(0, 4, 2)


@pytest.mark.parametrize("loss", [mse_loss, cosine_loss])
def test_hidden_states_of_two_widths_are_refused(loss: TokenLoss) -> None:
    with pytest.raises(ShapeError, match=r"\[3, 5, 4\].*\[3, 5, 6\]"):
        loss(random(3, 5, 4), random(3, 5, 6), MASK)


def test_relations_of_other_tokens_are_refused() -> None:
    with pytest.raises(ShapeError, match="tokens must be equal"):
        relation_loss(random(3, 4, 4), random(3, 5, 4), MASK, 2)


def test_relation_heads_that_do_not_divide_a_width_are_refused() -> None:
    with pytest.raises(ShapeError, match="3 relation heads do not divide the width 4"):
        relation_loss(random(3, 5, 4), random(3, 5, 6), MASK, 3)


def test_logits_of_two_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="logits"):
        soft_loss(random(3, 2), random(3, 3))
