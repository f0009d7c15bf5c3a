# SPDX-License-Identifier: MIT
"""``train`` and ``evaluate``: from a checkpoint's folder and a task's data to a model folder, and to its scores."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from torch import nn

from fastformers.config import TrainConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_folder import check_place
from fastformers.modules.encoder_names import parts_of
from fastformers.recipes.model_folder import open_for_task, open_model, save_model
from fastformers.tasks import (
    EncodedExamples,
    LostSpans,
    Task,
    TaskFile,
    Truncation,
    custom_task,
    get_task,
    load_examples,
    predict_logits,
    write_submission,
)
from fastformers.tasks import evaluate as score_logits
from fastformers.training import TrainingReport, train_
from fastformers.training.progress import ProgressCallback

__all__ = ["TRAIN_LOG", "evaluate", "train"]

_LOG = logging.getLogger(__name__)

#: The report's file in the folder of a trained model.
TRAIN_LOG = "train_log.json"


def train(
    checkpoint_dir: str | Path,
    data_dir: str | Path,
    output: str | Path,
    *,
    task: str | None = None,
    regression: bool = False,
    config: TrainConfig | None = None,
    max_length: int = 256,
    truncation: Truncation = "keep_question",
    lost_spans: LostSpans = "drop",
    activation: str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | bool | None = True,
) -> TrainingReport:
    """Fine-tunes a model on a task and saves it as a folder that every other command takes.

    While it runs, checkpoints are in ``<output>.work`` beside the output. After a kill the same call goes on from
    there; the folder is removed when the output is complete. Never hand in such a folder from someone else.

    Args:
        checkpoint_dir: where to start: a folder that transformers saved, which gets a head for the task; or one of ours
            for the same task, a pruned model for example, which is trained further as it is.
        data_dir: the task's files; the splits ``train`` and ``val`` are read.
        output: folder to make.
        task: e.g. ``"boolq"``; ``None``: your own, with ``train.csv`` or ``train.jsonl`` and ``val``, columns text,
            text_pair (optional) and label.
        regression: the labels of your own files are numbers to predict.
        config: how to train; its seed is that of a new head, too. ``None`` for ``TrainConfig()``.
        max_length: tokens after which texts are cut; at most the config's ``fixed_length``.
        truncation: as :func:`fastformers.tasks.encode`.
        lost_spans: likewise; how many examples are dropped is in the report.
        activation: of the feed-forward layers, e.g. ``"relu"``; ``None`` leaves it. Checkpoints of transformers only.
        overwrite: replace a model saved there before.
        progress: as :func:`fastformers.training.train_`.

    Returns:
        The report, saved as ``train_log.json`` beside the model.

    Raises:
        ConfigError: the output's place is taken, the task cannot be trained or is not the model's, a text exceeds
            the model's positions, or as :func:`fastformers.training.train_`.
        FormatError: data or model are missing or damaged; names file and line.
        UnsupportedModelError: the checkpoint is incomplete, or cannot be trained.
        NonFiniteError, MissingExtraError: as :func:`fastformers.training.train_`.

    Example:
        >>> report = ff.train("minilm", "superglue", "minilm-boolq", task="boolq")  # doctest: +SKIP
    """
    config = config or TrainConfig()
    target = Path(output).absolute()
    check_place(target, overwrite, MANIFEST)
    chosen = _task(task, data_dir, regression)
    opened = open_for_task(checkpoint_dir, chosen, seed=config.seed, activation=activation)
    model, tokenizer = opened.model, opened.tokenizer
    max_length = min(max_length, config.fixed_length or max_length)
    task_file = TaskFile(chosen, max_length, truncation)
    learned, scored = (
        task_file.encode(load_examples(chosen, data_dir, split), tokenizer, lost_spans=lost_spans)
        for split in ("train", "val")
    )
    _check_lengths(model, (learned, scored))
    work = target.with_name(f"{target.name}.work")
    report = train_(model, learned, scored, config, work_dir=work, progress=progress)
    save_model(
        model,
        target,
        tokenizer,
        task_file,
        extra={TRAIN_LOG: report.to_dict()},
        overwrite=overwrite,
    )
    shutil.rmtree(work, ignore_errors=True)
    return report


def evaluate(
    folder: str | Path,
    data_dir: str | Path,
    *,
    task: str | None = None,
    split: str = "val",
    batch_size: int = 32,
    fixed_length: int | None = None,
    submission: str | Path | None = None,
) -> dict[str, float]:
    """Scores a model on the data of its task: trained, distilled, pruned, quantized or compiled, it is all one.

    Args:
        folder: of a model with its ``task.json``.
        data_dir: the task's files.
        task: a diagnostic that the model's task answers, e.g. ``"axb"`` for a model of RTE; ``None``: its own task.
        split: of the data.
        batch_size: examples of a batch.
        fixed_length: pad every batch to this many tokens, the paper's baseline; ``None`` pads to the batch's longest.
        submission: also write the answers in the official form, to this file, or into this folder under the official
            name.

    Returns:
        All metrics of the task as fractions, and ``"score"``, 0 to 100. Empty where the split has no labels and
        answers were written.

    Raises:
        ConfigError: the folder does not say its task, ``task`` is not one that it answers, the split does not exist or
            has no labels, or truncation removed a marked span of an example that needs an answer.
        FormatError: data or model are missing or damaged.
        NonFiniteError: an answer is NaN or infinite.
        MissingExtraError: transformers or scikit-learn is not installed.

    Example:
        >>> ff.evaluate("minilm-boolq", "superglue")["score"]  # doctest: +SKIP
    """
    if submission is not None and not Path(submission).absolute().parent.is_dir():
        raise ConfigError(f"{Path(submission).parent} is not a folder: make it first")
    opened = open_model(folder)
    task_file = opened.required_task()
    chosen = _answered(task_file.task, task)
    examples = load_examples(chosen, data_dir, split)
    if submission is None and any(example.label is None for example in examples):
        raise ConfigError(
            f"the {split} set of {chosen.name} in {data_dir} has examples without a label: only labelled ones have a "
            "score; write the answers with submission (--submission FILE)"
        )
    encoded = replace(task_file, task=chosen).encode(
        examples,
        opened.tokenizer,
        lost_spans="drop" if submission is None else "error",
    )
    if encoded.dropped:
        _LOG.warning("%d examples lost a marked span to the cut and are not scored", len(encoded.dropped))
    logits = predict_logits(opened.model, encoded, batch_size, fixed_length=fixed_length)
    if submission is not None:
        write_submission(chosen, encoded.examples, logits, submission, split)
        if any(example.label is None for example in encoded.examples):
            return {}
    return score_logits(chosen, encoded.examples, logits)


def _task(name: str | None, data_dir: str | Path, regression: bool) -> Task:
    if name is None:
        return custom_task(data_dir, regression)
    task = get_task(name)
    if regression:
        raise ConfigError(f"regression is for your own files; {name} has its own kind of labels")
    if task.trains_as:
        raise ConfigError(
            f"{name} has no training set: train on {task.trains_as}, then evaluate with task={name!r}"
        )
    return task


def _answered(own: Task, name: str | None) -> Task:
    """The model's own task, or one that its answers fit."""
    if name is None or name == own.name:
        return own
    task = get_task(name)
    if task.trains_as != own.name:
        raise ConfigError(f"the model answers {own.name}, not {name}")
    return task


def _check_lengths(model: nn.Module, data: tuple[EncodedExamples, ...]) -> None:
    """Refuses texts longer than the table of positions; models without one take any."""
    try:
        positions = parts_of(model).positions
    except UnsupportedModelError:
        return
    longest = max(max(encoded.lengths, default=0) for encoded in data)
    if positions is not None and longest > positions:
        raise ConfigError(
            f"a text has {longest} tokens, the model has positions for {positions}: set max_length={positions}"
        )
