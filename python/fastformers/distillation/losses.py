# SPDX-License-Identifier: MIT
"""What a student loses against its teacher: functions of tensors, each one formula, none with a weight or a switch.

Logits' losses come one for each example. Losses of tokens come as one mean over the real tokens of a batch: padding
never counts, whatever it holds (in the paper's published code it does). None needs equal batches, only equal shapes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fastformers.errors import ConfigError, ShapeError

__all__ = [
    "attention_loss",
    "cosine_loss",
    "mse_loss",
    "relation_heads",
    "relation_loss",
    "score_loss",
    "soft_loss",
]


def soft_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's classes against the teacher's, softened: T^2 x -sum softmax(t/T) log_softmax(s/T).

    The factor T^2 keeps the gradients of the size that they have at T = 1 (Hinton et al. 2015, section 2); with T = 1
    it is the loss of the paper.

    Args:
        student: logits, shape [batch, classes].
        teacher: logits, the same shape; no gradient flows into them.
        temperature: T, above 0; above 1 it brings out what the teacher thinks of the other classes.

    Returns:
        Float32 losses, shape [batch].

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> soft_loss(torch.zeros(1, 2), torch.zeros(1, 2))
        tensor([0.6931])
    """
    _check_shapes("logits", student, teacher)
    targets = functional.softmax(teacher.detach().float() / temperature, dim=-1)
    guesses = functional.log_softmax(student.float() / temperature, dim=-1)
    return -(targets * guesses).sum(-1) * temperature**2


def score_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of predicted numbers, for regression.

    Args:
        student: scores, shape [batch, 1].
        teacher: scores, the same shape; no gradient flows into them.

    Returns:
        Float32 losses, shape [batch].

    Raises:
        ShapeError: the shapes differ.
    """
    _check_shapes("scores", student, teacher)
    return (student.float() - teacher.detach().float()).square().mean(-1)


def mse_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of hidden states over all channels of the real tokens.

    Args:
        student: hidden states, shape [batch, tokens, channels].
        teacher: hidden states, the same shape; no gradient flows into them.
        mask: 1 for real tokens, 0 for padding, shape [batch, tokens].

    Returns:
        A float32 scalar.

    Raises:
        ShapeError: the shapes differ.
    """
    _check_shapes("hidden states", student, teacher)
    return _mean_over_tokens((student.float() - teacher.detach().float()).square().mean(-1), mask)


def cosine_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """One less the mean cosine of hidden states over the real tokens; arguments, result and errors as :func:`mse_loss`.

    Args:
        student: hidden states, shape [batch, tokens, channels].
        teacher: hidden states, the same shape; no gradient flows into them.
        mask: 1 for real tokens, 0 for padding, shape [batch, tokens].

    Returns:
        A float32 scalar from 0 to 2.

    Raises:
        ShapeError: the shapes differ.
    """
    _check_shapes("hidden states", student, teacher)
    cosines = functional.cosine_similarity(student.float(), teacher.detach().float(), dim=-1)
    return _mean_over_tokens(1.0 - cosines, mask)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """One less the mean cosine of attention probabilities along the keys, over the real queries of all heads.

    The measure of the paper's published code. What falls on padded keys is left out.

    Args:
        student: probabilities, shape [batch, heads, queries, keys].
        teacher: probabilities, the same shape; no gradient flows into them.
        mask: 1 for real tokens, 0 for padding, shape [batch, tokens].

    Returns:
        A float32 scalar from 0 to 1.

    Raises:
        ShapeError: the shapes differ; heads that differ in number have relations, see :func:`relation_loss`.
    """
    _check_shapes("attention probabilities", student, teacher)
    keys = mask[:, None, None, :].bool()
    ours, theirs = (each.float().masked_fill(~keys, 0.0) for each in (student, teacher.detach()))
    return _mean_over_tokens((1.0 - functional.cosine_similarity(ours, theirs, dim=-1)).mean(1), mask)


def relation_heads(student_width: int, teacher_width: int, most: int) -> int:
    """Returns into how many heads both widths can be cut: the largest number up to ``most`` that divides both.

    Args:
        student_width: channels of the student's queries, keys or values, all heads together.
        teacher_width: the same of the teacher's.
        most: usually the teacher's number of heads.

    Raises:
        ConfigError: an argument is less than 1.

    Example:
        >>> relation_heads(384, 768, 12)
        12
    """
    if min(student_width, teacher_width, most) < 1:
        raise ConfigError(
            f"widths {student_width} and {teacher_width}, heads {most}: each must be at least 1"
        )
    common = math.gcd(student_width, teacher_width)
    return max(count for count in range(1, min(most, common) + 1) if common % count == 0)


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Divergence of how tokens relate to each other, for queries, keys or values of any two widths.

    Each width is cut into as many relation heads; the softmax of the scaled products of a head's vectors with one
    another says how a token relates to all; the loss is the mean of KL(teacher, student) over heads and real tokens
    (MiniLMv2, Wang et al. 2021, section 3.1).

    Args:
        student: all heads side by side, shape [batch, tokens, student width].
        teacher: shape [batch, tokens, teacher width]; no gradient flows into it.
        mask: 1 for real tokens, 0 for padding, shape [batch, tokens].
        heads: relation heads; must divide both widths, see :func:`relation_heads`.

    Returns:
        A float32 scalar, 0 or more.

    Raises:
        ShapeError: batch or tokens differ, or ``heads`` does not divide a width.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ShapeError(
            f"the student's vectors have shape {list(student.shape)}, the teacher's {list(teacher.shape)}: "
            "batch and tokens must be equal"
        )
    ours = _log_relations(student.float(), mask, heads)
    theirs = _log_relations(teacher.detach().float(), mask, heads)
    terms = functional.kl_div(
        ours, theirs, reduction="none", log_target=True
    )  # 0 for padded keys: 0 x finite
    return _mean_over_tokens(terms.sum(-1).mean(1), mask)


def _log_relations(vectors: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Shape [batch, heads, tokens, tokens]; padded keys get a finite, very small logarithm."""
    batch, tokens, width = vectors.shape
    if width % heads:
        raise ShapeError(f"{heads} relation heads do not divide the width {width}")
    split = vectors.view(batch, tokens, heads, width // heads).transpose(1, 2)
    products = split @ split.transpose(-1, -2) / math.sqrt(width // heads)
    padded = ~mask[:, None, None, :].bool()
    return functional.log_softmax(products.masked_fill(padded, torch.finfo(products.dtype).min), dim=-1)


def _mean_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of [batch, tokens] over real tokens; padding is put aside, not multiplied: it may hold NaN."""
    real = mask.bool()
    return values.masked_fill(~real, 0.0).sum() / real.sum().clamp(min=1)


def _check_shapes(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ShapeError(
            f"the student's {what} have shape {list(student.shape)}, the teacher's {list(teacher.shape)}: "
            "they must be equal"
        )
