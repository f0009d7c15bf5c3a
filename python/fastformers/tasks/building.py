# SPDX-License-Identifier: MIT
"""A model for a task from a checkpoint: transformers' own class, or one of our heads on its encoder.

What a checkpoint lacks may only be the head. A checkpoint whose encoder is of other shapes, or incomplete, is refused:
transformers would fill the gaps with random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from fastformers._optional import require
from fastformers.answers import given_class_names, same_classes
from fastformers.config import Head
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.files.strict_json import read_json
from fastformers.modules.config_names import set_activation_, set_known_
from fastformers.modules.float_weights import with_float32_weights
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.quiet_loading import quiet_loading
from fastformers.tasks.task import Task

__all__ = ["build_model", "check_head_of_task"]

_PROBLEM_TYPES = {"classification": "single_label_classification", "regression": "regression"}
#: Names that model families give their dropout shares in a config.
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "classifier_dropout",
)
_HEAD_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob")
#: First parts of parameters' names that belong to heads, in all families supported.
_HEADS = {"classifier", "pre_classifier", "pooler", "head"}
#: A model, and what of its head was drawn at random.
_Built = tuple[nn.Module, Sequence[str]]
_NEW = ("the head",)


def build_model(
    task: Task,
    checkpoint_dir: str | Path,
    *,
    dropout: float | None = None,
    activation: str | None = None,
    head: Head | None = None,
    seed: int = 0,
    new_head: bool = True,
) -> nn.Module:
    """Loads an encoder and puts the task's head on it.

    Args:
        task: the task.
        checkpoint_dir: a folder that transformers saved, with or without a head. A head of the same width is kept,
            in the task's order of classes if its config names the same ones; one of another width is made anew.
        dropout: every dropout share of the model, 0 to below 1; ``None`` leaves them as they are.
        activation: of the feed-forward layers, e.g. ``"relu"``; ``None`` leaves it. Another one than the checkpoint was
            trained with changes every answer until the model is trained again.
        head: ``"cosine"`` compares the two texts of a pair, see
            :class:`fastformers.modules.pair_classifier.PairClassifier`: for encoders of sentence embeddings, and labels
            that say how alike both are. ``None`` for the task's own.
        seed: of the head's random weights; the global random state is left as it was.
        new_head: whether a head may be made; ``False`` for models that are to answer as they are.

    Returns:
        The model in evaluation mode: ``AutoModelForSequenceClassification``'s class, or
        :class:`fastformers.modules.span_classifier.SpanClassifier` for tasks with spans, or that of ``head``.

    Raises:
        ConfigError: the folder holds no model, or an argument is out of range or unknown to the family, or ``head`` is
            for a task that marks spans, or the tokenizer has no separator.
        FormatError: transformers cannot read the config, or the weights.
        UnsupportedModelError: the checkpoint's encoder is incomplete or does not fit its config; or it has no head of
            the task, and none may be made.
        MissingExtraError: transformers is not installed.

    Example:
        >>> model = build_model(get_task("rte"), "minilm")  # doctest: +SKIP
    """
    transformers = require("transformers", "torch", "fastformers.tasks.build_model")
    folder = Path(checkpoint_dir)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json: it must be a folder that transformers saved")
    check_head_of_task(head, task)
    config = _config(transformers, task, folder, dropout, activation)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = _BUILDERS[task.kind] if head is None else _HEAD_BUILDERS[head]
        model, made = build(transformers, task, folder, config)
    if made and not new_head:
        raise UnsupportedModelError(
            f"{folder} has no trained head for the task {task.name}: {made[0]} is missing or of another shape, and one "
            "drawn at random would answer; train it first (fastformers train)"
        )
    return model.eval()


def _config(
    transformers: Any, task: Task, folder: Path, dropout: float | None, activation: str | None
) -> Any:
    names = task.labels or ("score",)
    labels = {
        "num_labels": task.num_labels,
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **labels)
    except (ValueError, OSError) as error:
        raise FormatError(f"{folder / 'config.json'} is refused by transformers: {error}") from error
    config.problem_type = _PROBLEM_TYPES.get(task.kind)
    if dropout is not None:
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout}, must be from 0 to below 1")
        set_known_(config, _DROPOUTS, dropout)
    if activation is not None:
        set_activation_(config, activation)
    return config


def _sequence(transformers: Any, task: Task, folder: Path, config: Any) -> _Built:
    names = given_class_names(read_json(folder / "config.json").get("id2label"))
    model, made = _loaded(transformers.AutoModelForSequenceClassification, folder, config)
    _put_in_order_(model, same_classes(task.labels, names))
    return model, made


def _put_in_order_(model: nn.Module, rows: list[int] | None) -> None:
    """Gives a head that knew the task's classes in another order the task's; others stay as they are."""
    if rows is None or rows == sorted(rows):
        return
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    if last.out_features != len(rows):
        raise UnsupportedModelError(
            f"{type(model).__name__} has the task's classes in another order than the task, and its last layer has "
            f"{last.out_features} outputs, not {len(rows)}: put its classes into the task's order"
        )
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.copy_(parameter[rows].clone())


def _spans(transformers: Any, task: Task, folder: Path, config: Any) -> _Built:
    encoder, _ = _loaded(transformers.AutoModel, folder, config)
    shares = (getattr(config, name, None) for name in _HEAD_DROPOUTS)
    share = next((share for share in shares if share is not None), 0.1)
    return SpanClassifier(encoder, len(task.span_texts), task.num_labels, float(share)), _NEW


def _pairs(transformers: Any, task: Task, folder: Path, config: Any) -> _Built:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    separator = tokenizer.sep_token_id
    if separator is None:
        raise ConfigError(
            f"{folder}'s tokenizer has no separator token, by which head='cosine' tells the texts of a pair apart"
        )
    first = separator if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    encoder, _ = _loaded(transformers.AutoModel, folder, config)
    model = PairClassifier(encoder, task.num_labels, separator_id=int(separator), first_id=int(first))
    return model, _NEW


def check_head_of_task(head: str | None, task: Task, place: str = "") -> None:
    """Refuses a head that does not exist, or that a task has no use for.

    Args:
        head: as for :func:`build_model`.
        task: the task.
        place: what stands before the message.

    Raises:
        ConfigError: says which heads there are, or what the task has.
    """
    if head is None:
        return
    if head not in _HEAD_BUILDERS:
        raise ConfigError(f"{place}head is {head!r}; allowed: {', '.join(_HEAD_BUILDERS)}")
    if task.kind == "spans":
        raise ConfigError(
            f"{place}head is {head!r}, and {task.name} marks spans, which have a head of their own"
        )


def _loaded(auto_class: Any, folder: Path, config: Any) -> _Built:
    """Loads weights and checks that only a head was missing or of another width; returns what of it was drawn."""
    try:
        model, found = auto_class.from_pretrained(
            folder,
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
        )
    except (ValueError, OSError, SafetensorError) as error:
        raise FormatError(f"{folder} cannot be loaded by transformers: {error}") from error
    mismatched = [key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]]
    prefix = f"{model.base_model_prefix}."
    for problem, names in (("lacks", found["missing_keys"]), ("has another shape of", mismatched)):
        odd = sorted(name for name in names if name.removeprefix(prefix).split(".")[0] not in _HEADS)
        if odd:
            raise UnsupportedModelError(
                f"{folder} {problem} {odd[0]} ({len(odd)} such): it does not fit its config.json; pruned models load "
                "with fastformers.load_pretrained_torch"
            )
    return with_float32_weights(model), sorted({*found["missing_keys"], *mismatched})


_BUILDERS = {"classification": _sequence, "regression": _sequence, "spans": _spans}
#: Heads that a checkpoint can get instead.
_HEAD_BUILDERS = {"cosine": _pairs}
