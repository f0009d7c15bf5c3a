# SPDX-License-Identifier: MIT
"""``prune_folder``: a model folder in, a smaller model's folder out; scored on the data of the model's own task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from fastformers.config import PruneConfig
from fastformers.errors import ConfigError
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_folder import check_place
from fastformers.modules.layer_shapes import shapes_of
from fastformers.pruning import PruneReport, describe_pruning, drop_layers_, prune_, prune_vocabulary_
from fastformers.pruning.batches import drawn
from fastformers.pruning.vocabulary import Text
from fastformers.recipes.model_folder import OpenedModel, open_model, save_model
from fastformers.recipes.sentence_folder import left_pooling_note
from fastformers.tasks import EncodedExamples, load_examples
from fastformers.tasks.task import Split

__all__ = ["REPORT", "prune_folder"]

#: The report's file in the folder of a pruned model.
REPORT = "pruning.json"

_LOOK_AT_DATA = ("first_order", "activation")


def prune_folder(
    folder: str | Path,
    output: str | Path,
    data_dir: str | Path | None = None,
    config: PruneConfig | None = None,
    *,
    split: Split = "train",
    layers: Sequence[int] | None = None,
    vocabulary_texts: Sequence[Text] | None = None,
    overwrite: bool = False,
) -> PruneReport:
    """Prunes a saved model, and saves it in the form that every other command takes.

    Layers go first, then heads and neurons, then pieces of the vocabulary. Train or distil the result again.

    Args:
        folder: of a model that transformers or fastformers saved, with ``task.json``, or class names in
            its config, where scores look at data.
        output: folder to make.
        data_dir: the task's data; may be left out where no scores look at data.
        config: what to keep; by default all heads and neurons stay.
        split: of the data to score on. ``"val"`` is the paper's way: results on it are then too good, and the report
            says so.
        layers: places of the layers to keep, from 0.
        vocabulary_texts: texts, or pairs of them, whose pieces the vocabulary keeps; ``None`` keeps all.
        overwrite: replace a model saved there before.

    Returns:
        What was kept, saved as ``pruning.json`` beside the model.

    Raises:
        ConfigError: nothing is to be pruned, data or task are missing, a text is too long for the model, the output's
            place is taken, or a value is refused.
        FormatError: the model or the data are damaged.
        UnsupportedModelError, NonFiniteError: as :func:`fastformers.prune_`.

    Example:
        >>> prune_folder("teacher", "pruned", "BoolQ", PruneConfig(heads=9, ffn=900))  # doctest: +SKIP
    """
    chosen = PruneConfig() if config is None else config
    if not chosen.prunes and layers is None and vocabulary_texts is None:
        raise ConfigError("nothing is to be pruned: give heads, ffn, macs, layers or a vocabulary")
    reads_data = chosen.prunes and chosen.scores in _LOOK_AT_DATA
    if split != "train" and not reads_data:
        raise ConfigError(
            f"split is {split!r}, and nothing reads data: leave it out, or prune heads or neurons by the scores "
            f"{' or '.join(_LOOK_AT_DATA)}"
        )
    check_place(Path(output).absolute(), overwrite, MANIFEST)
    opened = open_model(folder)
    opened.check_not_compiled("pruned")
    task_file = opened.task_file
    before = _unpruned(opened.model)
    notes: list[str] = []
    if layers is not None:
        drop_layers_(opened.model, layers)
        notes.append(f"layers kept: {', '.join(map(str, layers))} of the {len(before.layers)} from 0")
    report = _unpruned(opened.model)
    if chosen.prunes:
        data = None
        if reads_data:
            task_file = opened.required_task()
            data = _data(opened, data_dir, split, chosen)
        report = prune_(opened.model, chosen, data)
        notes += report.notes + _leak(split if data is not None else "train")
    tokenizer = opened.tokenizer
    if vocabulary_texts is not None:
        pieces = len(tokenizer)
        tokenizer = prune_vocabulary_(opened.model, tokenizer, vocabulary_texts)
        notes.append(f"vocabulary: {pieces:,} -> {len(tokenizer):,} pieces")
    notes += left_pooling_note(Path(folder))
    report = replace(
        report,
        parameters_before=before.parameters_before,
        parameters=_unpruned(opened.model).parameters,
        macs_before=before.macs_before,
        notes=tuple(notes),
    )
    extra = {REPORT: report.to_dict()}
    save_model(opened.model, output, tokenizer, task_file, extra=extra, overwrite=overwrite)
    return report


def _unpruned(model: nn.Module) -> PruneReport:
    """The report of a model of which all heads and neurons stay."""
    shapes = shapes_of(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return describe_pruning(model, None, 0, shapes, None, parameters)


def _data(
    opened: OpenedModel, data_dir: str | Path | None, split: Split, config: PruneConfig
) -> EncodedExamples:
    """As many examples as are scored on, tokenised: of a large data set not all."""
    task = opened.required_task().task
    if data_dir is None:
        raise ConfigError(
            "scores look at examples: give the folder of the task's data, or choose 'magnitude'"
        )
    examples = load_examples(task, data_dir, split)
    return opened.encode([examples[place] for place in drawn(len(examples), config)])


def _leak(split: Split) -> tuple[str, ...]:
    if split == "train":
        return ()
    return (f"scored on the {split} set, which leaks: it chose what stays, so results on it are too good",)
