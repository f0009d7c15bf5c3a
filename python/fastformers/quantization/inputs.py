# SPDX-License-Identifier: MIT
"""Turns what the user gives (texts, text pairs, example tensors, or nothing) into batches for a model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from fastformers.config import Int8Config
from fastformers.errors import CalibrationError
from fastformers.modules.pair_classifier import PairClassifier

__all__ = ["LEAST_TEXTS", "Batch", "Examples", "bundled_texts", "collect_examples", "input_of_call"]

#: Fewer texts than this say too little about a model's activations.
LEAST_TEXTS = 8

#: Tokens of one forward pass: its activations must stay small beside the model's weights.
TOKENS_PER_BATCH = 256

Text = str | tuple[str, str]


@dataclass(frozen=True)
class Batch:
    """Keyword arguments of one forward pass.

    Attributes:
        inputs: tensors by parameter name.
        positions: which of the examples the rows are.
        mask: bool [rows, tokens], False where padded; None when unknown.
    """

    inputs: dict[str, Tensor]
    positions: tuple[int, ...]
    mask: Tensor | None


@dataclass(frozen=True)
class Examples:
    """What a model is calibrated on and compared on.

    Attributes:
        batches: forward passes.
        count: texts, or rows of example tensors.
        origin: where they come from, for the report.
    """

    batches: tuple[Batch, ...]
    count: int
    origin: str


def input_of_call(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor:
    """Returns what a linear layer was called with: by position, or as ``input=``."""
    found: Tensor = arguments[0] if arguments else options["input"]
    return found


def bundled_texts() -> list[str]:
    """Returns the calibration texts that come with the package: English, of varied subject and length."""
    file = resources.files("fastformers") / "data" / "calibration_texts.jsonl"
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def collect_examples(
    model: nn.Module, config: Int8Config, tokenizer: Callable[..., Any] | None, texts: Iterable[Any] | None
) -> Examples | None:
    """Makes batches out of the user's texts, or of the bundled ones.

    Args:
        model: what the batches are for; its ``forward`` says which inputs it takes.
        config: batch size and limits.
        tokenizer: a transformers tokenizer; not needed for example tensors.
        texts: strings, pairs of strings, or example inputs: each a tensor, a tuple of tensors in ``forward``'s
            order, or a dict of tensors, with the examples along the first dimension.

    Returns:
        The examples, or None when there is neither a tokenizer nor anything given.

    Raises:
        CalibrationError: too few, of mixed or unknown kind, texts without a tokenizer, or single texts for a model
            that compares pairs.
    """
    if texts is None:
        if tokenizer is None:
            return None
        kept = _spread(bundled_texts(), config.max_texts)
        if isinstance(model, PairClassifier):  # which says the same of all single texts
            pairs = list(pairwise(kept))
            return _tokenized(model, config, tokenizer, pairs, f"{len(pairs)} pairs of bundled texts")
        return _tokenized(model, config, tokenizer, kept, f"{len(kept)} bundled texts")
    if isinstance(texts, str | bytes | Mapping | Tensor):
        raise CalibrationError(
            f"texts is one {type(texts).__name__}; pass a list of texts or of example inputs"
        )
    given = list(texts)
    if all(_is_text(item) for item in given) and len({isinstance(item, str) for item in given}) < 2:
        return _from_texts(model, config, tokenizer, given)
    if all(_is_example(item) for item in given):
        return _from_tensors(model, given)
    kinds = ", ".join(sorted({type(item).__name__ for item in given}))
    raise CalibrationError(
        f"texts holds {kinds}; it must hold only strings, only pairs of strings, or only example inputs (tensors, "
        "tuples of tensors or dicts of tensors)"
    )


def _from_texts(
    model: nn.Module, config: Int8Config, tokenizer: Callable[..., Any] | None, given: list[Text]
) -> Examples:
    if len(given) < LEAST_TEXTS:
        raise CalibrationError(
            f"{len(given)} texts are too few to calibrate on: give at least {LEAST_TEXTS}, better 64 to 128, or none "
            "at all to use the bundled ones"
        )
    if isinstance(model, PairClassifier) and isinstance(given[0], str):
        raise CalibrationError(
            "the texts are single ones, and the model compares the two of a pair: give pairs"
        )
    if tokenizer is None:
        raise CalibrationError(
            "texts need a tokenizer: pass tokenizer=, or give example inputs instead of texts"
        )
    kept = _spread(given, config.max_texts)
    origin = (
        f"{len(kept)} of the {len(given)} texts given"
        if len(kept) < len(given)
        else f"{len(kept)} texts given"
    )
    return _tokenized(model, config, tokenizer, kept, origin)


def _from_tensors(model: nn.Module, given: list[Any]) -> Examples:
    batches: list[Batch] = []
    count = 0
    for item in given:
        inputs = _as_keywords(model, item)
        rows = next(iter(inputs.values())).shape[0]
        batches.append(Batch(inputs, tuple(range(count, count + rows)), _mask(inputs)))
        count += rows
    if count < LEAST_TEXTS:
        raise CalibrationError(
            f"the example inputs hold {count} examples along their first dimension, too few to calibrate on: give at "
            f"least {LEAST_TEXTS}"
        )
    return Examples(tuple(batches), count, f"{count} example inputs given")


def _tokenized(
    model: nn.Module, config: Int8Config, tokenizer: Callable[..., Any], texts: Sequence[Text], origin: str
) -> Examples:
    accepted = _accepted_inputs(model)
    limit = _length_limit(model, config, tokenizer)
    pads = getattr(tokenizer, "pad_token", None) is not None
    lengths = [len(ids) for ids in _tokenize(tokenizer, texts, limit, None)["input_ids"]]
    batches = []
    for positions in _batches_by_length(lengths, config.batch_size if pads else 1):
        inputs = _tokenize(tokenizer, [texts[place] for place in positions], limit, "pt", padding=pads)
        kept = {name: value for name, value in inputs.items() if accepted is None or name in accepted}
        batches.append(Batch(kept, positions, _mask(inputs)))
    return Examples(tuple(batches), len(texts), origin)


def _batches_by_length(lengths: Sequence[int], most_texts: int) -> list[tuple[int, ...]]:
    """Puts texts of like length together: little padding, and never more than a few hundred tokens at once.

    The longest come first, so that the memory they leave fits what follows and the heap does not grow.
    """
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) == most_texts or (len(batch) + 1) * lengths[batch[0]] > TOKENS_PER_BATCH):
            batches.append(tuple(batch))
            batch = []
        batch.append(place)
    return [*batches, tuple(batch)]


def _tokenize(
    tokenizer: Callable[..., Any],
    texts: Sequence[Text],
    max_length: int,
    return_tensors: str | None,
    padding: bool = False,
) -> dict[str, Any]:
    if isinstance(texts[0], str):
        arguments: tuple[Any, ...] = (list(texts),)
    else:
        arguments = tuple(list(side) for side in zip(*texts, strict=True))
    encoded = tokenizer(
        *arguments, padding=padding, truncation=True, max_length=max_length, return_tensors=return_tensors
    )
    return dict(encoded)


def _length_limit(model: nn.Module, config: Int8Config, tokenizer: Callable[..., Any]) -> int:
    """The configured length, where neither the tokenizer nor the position table is shorter."""
    limits = [config.max_length, getattr(tokenizer, "model_max_length", None)]
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    limits.append(positions - 2 if isinstance(positions, int) else None)  # RoBERTa's begin at 2
    return max(4, min(limit for limit in limits if isinstance(limit, int)))


def _accepted_inputs(model: nn.Module) -> frozenset[str] | None:
    """Names ``forward`` takes; None when it takes any."""
    parameters = inspect.signature(model.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return frozenset(parameters)


def _as_keywords(model: nn.Module, item: Any) -> dict[str, Tensor]:
    if isinstance(item, Mapping):
        return dict(item)
    positional = item if isinstance(item, tuple | list) else (item,)
    try:
        bound = inspect.signature(model.forward).bind(*positional)
    except TypeError as error:
        raise CalibrationError(
            f"an example input of {len(positional)} tensors does not fit {type(model).__name__}.forward: {error}"
        ) from error
    names = dict(bound.arguments)
    if any(not isinstance(value, Tensor) for value in names.values()):
        raise CalibrationError(
            f"{type(model).__name__}.forward takes *args: give example inputs as dicts of tensors"
        )
    return names


def _mask(inputs: Mapping[str, Tensor]) -> Tensor | None:
    mask = inputs.get("attention_mask")
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` items, evenly spaced, the first included."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]


def _is_text(item: object) -> bool:
    is_pair = (
        isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item)
    )
    return isinstance(item, str) or is_pair


def _is_example(item: object) -> bool:
    parts: Iterable[object] = (item,)
    if isinstance(item, Mapping):
        parts = item.values()
    elif isinstance(item, tuple | list):
        parts = item
    found = list(parts)
    return bool(found) and all(isinstance(part, Tensor) and part.dim() > 0 for part in found)
