# SPDX-License-Identifier: MIT
"""What units are scored on: batches drawn from encoded examples, or those that the caller made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor, nn

from fastformers.config import PruneConfig
from fastformers.errors import ConfigError
from fastformers.tasks import Collator, EncodedExamples, accepted_inputs
from fastformers.tasks.fitting import check_class_order, check_fits

__all__ = ["Data", "drawn", "losses_of", "scoring_batches"]

Data: TypeAlias = Iterable[Mapping[str, Any]] | EncodedExamples

#: Tokens of one pass: its activations, which the gradient needs again, must fit beside the model.
_TOKENS = 1024


def scoring_batches(
    model: nn.Module, data: Data | None, config: PruneConfig
) -> Iterator[tuple[dict[str, Tensor], Tensor | None]]:
    """Yields inputs and labels of at most ``config.max_examples`` examples, on the model's device.

    Args:
        model: what the batches are for.
        data: encoded examples, of which more than that many are sampled with ``config.seed``; or batches, each a
            mapping with ``input_ids`` of shape [examples, tokens].
        config: limits, and for the error's text the scores.

    Yields:
        (inputs by name, labels or None). Examples whose labels are not one number each come alone.

    Raises:
        ConfigError: there is no data, or it is neither of the two, or a text is too long for the model, or labels that
            are looked at are in another order than its classes.
    """
    if data is None:
        raise ConfigError(
            f'scores="{config.scores}" look at examples: pass data=, or choose scores="magnitude"'
        )
    if isinstance(data, EncodedExamples):
        check_fits(model, data)
        if config.scores == "first_order":  # the others look at no labels
            check_class_order(model, data.task)
    device = next(model.parameters()).device
    left = config.max_examples
    for batch in _batches(data, config):
        tensors = {name: value.to(device) for name, value in _tensors_of(batch).items()}
        for part in _rows_apart({name: value[:left] for name, value in tensors.items()}):
            yield accepted_inputs(model, part), part.get("labels")
        left -= len(tensors["input_ids"])
        if left <= 0:
            return


def drawn(count: int, config: PruneConfig) -> list[int]:
    """Places of at most ``config.max_examples`` of so many examples, ascending."""
    if count <= config.max_examples:
        return list(range(count))
    draw = np.random.default_rng(config.seed).choice(count, config.max_examples, replace=False)
    return sorted(int(place) for place in draw)


def _batches(data: Data, config: PruneConfig) -> Iterator[Mapping[str, Any]]:
    if not isinstance(data, EncodedExamples):
        yield from data
        return
    chosen = drawn(len(data), config)
    collate = Collator(data.tokenizer)
    for batch in _by_length([data.lengths[index] for index in chosen]):
        yield collate([data[chosen[place]] for place in batch])


def _tensors_of(batch: Any) -> dict[str, Tensor]:
    """The tensors of a batch, with whole labels as int64.

    Raises:
        ConfigError: it is no mapping, lacks token ids, or has not a row of everything for each example.
    """
    found = batch if isinstance(batch, Mapping) else {}
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    ids = tensors.get("input_ids")
    if ids is None or ids.dim() != 2:
        got = type(batch).__name__ if ids is None else f"one of shape {list(ids.shape)}"
        raise ConfigError(
            f"data must yield mappings with a tensor input_ids of shape [examples, tokens]; got {got}"
        )
    for name, value in tensors.items():
        if value.dim() == 0 or len(value) != len(ids):
            raise ConfigError(
                f"{name} of a batch has shape {list(value.shape)}, and input_ids {list(ids.shape)}: give a row, or a "
                "label, for each example"
            )
    labels = tensors.get("labels")
    if labels is not None and not labels.is_floating_point():
        tensors["labels"] = labels.long()
    return tensors


def _by_length(lengths: list[int]) -> Iterator[list[int]]:
    """Places in batches of like length, longest first, none of more tokens than one pass should have."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _rows_apart(batch: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The batch itself, or its examples alone where the loss of each cannot be told from the labels' shape."""
    labels = batch.get("labels")
    if not len(batch["input_ids"]):
        return
    if labels is None or labels.dim() == 1:
        yield batch
        return
    for row in range(len(labels)):
        yield {name: value[row : row + 1] for name, value in batch.items()}


def losses_of(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """The task's loss of each example.

    Args:
        model: with a head.
        inputs: of the model, shape [examples, tokens] each.
        labels: int64 [examples], classes; float32 [examples], numbers to predict; of other shapes what the model itself
            makes a loss of, one example at a time.

    Returns:
        Shape [examples].

    Raises:
        ConfigError: the model gives no logits, or a label is none of its classes.
    """
    if labels.dim() != 1:
        loss: Tensor = model(**inputs, labels=labels).loss
        return loss[None]
    logits = getattr(model(**inputs), "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ConfigError(
            f"{type(model).__name__} gives no logits of shape [examples, outputs]: first-order scores need a loss; "
            'prune a model with a head, or choose scores="activation"'
        )
    if logits.shape[1] == 1:
        return nn.functional.mse_loss(logits[:, 0], labels.to(logits.dtype), reduction="none")
    if labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise ConfigError(
            f"labels must be whole numbers from 0 to {logits.shape[1] - 1}; got {labels.tolist()}"
        )
    return nn.functional.cross_entropy(logits, labels, reduction="none")
