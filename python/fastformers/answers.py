# SPDX-License-Identifier: MIT
"""What an engine answers, and how it is made from the encoder's outputs: labels, scores, order of documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Prediction",
    "RankedDocument",
    "class_names",
    "given_class_names",
    "has_many_labels",
    "predictions",
    "rank",
    "relevance",
    "similarities",
    "stacked",
    "unpadded",
]

_MADE_UP = "LABEL_"


class Prediction(NamedTuple):
    """The most probable label of a text.

    Attributes:
        label: its name (``id2label`` of the model), or ``"LABEL_i"`` where the model names none.
        score: its probability: softmax, or the sigmoid of its own logit where a text may have several labels
            (``problem_type="multi_label_classification"``). Of any other model with one output, the output itself.
    """

    label: str
    score: float


class RankedDocument(NamedTuple):
    """A document's place in a ranking.

    Attributes:
        doc: its position in the list that was given.
        score: see :meth:`fastformers.Engine.rerank`.
    """

    doc: int
    score: float


def class_names(id2label: Mapping[Any, Any] | None) -> tuple[str, ...] | None:
    """Names of the classes in the order of the logits, from ``id2label`` of a model's configuration.

    Args:
        id2label: number of a class, as a number or (of JSON) its text -> name.

    Returns:
        The names; ``None`` where there are none, or not one for each number from 0 on.

    Example:
        >>> class_names({"1": "yes", "0": "no"})
        ('no', 'yes')
    """
    if not isinstance(id2label, Mapping):  # of a file, anything may stand there
        return None
    names = {str(number): str(name) for number, name in id2label.items()}
    numbers = [str(number) for number in range(len(names))]
    return tuple(names[number] for number in numbers) if names and names.keys() == set(numbers) else None


def given_class_names(id2label: Mapping[Any, Any] | None) -> tuple[str, ...]:
    """Names as :func:`class_names` gives them; none where they are those that transformers makes up, ``LABEL_0``..."""
    names = class_names(id2label) or ()
    return () if any(name.startswith(_MADE_UP) for name in names) else names


def same_classes(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Returns where each of ``names`` stands among ``others``, whatever the capitals.

    Returns:
        Places in ``others``, in the order of ``names``; ``None`` where they are not the same classes.

    Example:
        >>> same_classes(("Good", "Bad"), ("bad", "good"))
        [1, 0]
    """
    places = {name.casefold(): place for place, name in enumerate(others)}
    found = [places.get(name.casefold(), -1) for name in names]
    return found if names and sorted(found) == list(range(len(others))) else None


def has_many_labels(problem_type: str | None) -> bool:
    """Whether a text may have several labels at once, by ``problem_type`` of a model's configuration."""
    return problem_type == "multi_label_classification"


def stacked(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Rows [C] of n texts as one array [n, C]; of no texts [0, 0]."""
    return np.stack(list(rows)) if rows else np.empty((0, 0), np.float32)


def unpadded(
    batches: Iterable[tuple[Sequence[int], NDArray[np.float32]]], lengths: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Outputs of padded batches as one array a text, in the order of the texts.

    Args:
        batches: places of a batch's texts, and its output, [batch, C] or [batch, longest, C].
        lengths: tokens of each text; every text is in one batch.

    Returns:
        [C], or [tokens, C], of each text.
    """
    rows: dict[int, NDArray[np.float32]] = {}
    for places, output in batches:
        for place, row in zip(places, output, strict=True):
            rows[place] = row[: lengths[place]] if row.ndim == 2 else row
    return [rows[place] for place in range(len(lengths))]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax of each row, [n, C]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return result


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sigmoid of each number."""
    result: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * logits))  # exp(-x) would overflow far below 0
    return result


def predictions(
    logits: NDArray[np.float32], labels: Sequence[str] | None, *, many_labels: bool = False
) -> list[Prediction]:
    """Labels and scores of logits, [n, C], C >= 1; ``many_labels``: each label has a probability of its own."""
    names = labels if labels is not None else [f"LABEL_{i}" for i in range(logits.shape[1])]
    if logits.shape[1] == 1 and not many_labels:
        return [Prediction(names[0], float(value)) for value in logits[:, 0]]
    scores = (sigmoid if many_labels else softmax)(logits)
    best = logits.argmax(axis=1)
    return [Prediction(names[index], float(scores[row, index])) for row, index in enumerate(best)]


def relevance(logits: NDArray[np.float32], *, many_labels: bool = False) -> NDArray[np.float32]:
    """Score of each pair from logits [n, 1] (the logit) or [n, 2] (probability of the second label)."""
    return logits[:, 0] if logits.shape[1] == 1 else (sigmoid if many_labels else softmax)(logits)[:, 1]


def similarities(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each further row with the first, [n - 1], of embeddings [n, C]."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    # Summed row by row: a matrix product rounds by the number of rows, and a score would depend on the others.
    products = (vectors[1:] * vectors[0]).sum(axis=1)
    cosines: NDArray[np.float32] = products / (lengths[1:] * lengths[0])
    return cosines


def rank(scores: NDArray[np.float32]) -> list[RankedDocument]:
    """Documents by falling score, [n]; equal scores stay in the order given."""
    order = np.argsort(-scores, kind="stable")
    return [RankedDocument(int(index), float(scores[index])) for index in order]
