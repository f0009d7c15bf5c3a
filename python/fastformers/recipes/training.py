# SPDX-License-Identifier: MIT
"""``train``: from a checkpoint's folder and a task's data to a model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from fastformers.answers import given_class_names, same_classes
from fastformers.config import Head, TrainConfig
from fastformers.errors import ConfigError
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_folder import check_place
from fastformers.files.strict_json import read_json
from fastformers.recipes.model_folder import LONGEST, learned_from, open_for_task, save_model
from fastformers.recipes.output_names import work_folder
from fastformers.recipes.pair_start import start_head_
from fastformers.tasks import (
    LostSpans,
    Task,
    TaskFile,
    Truncation,
    custom_task,
    get_task,
    load_examples,
)
from fastformers.tasks.custom import CUSTOM, task_with_labels
from fastformers.tasks.loading import check_second_texts
from fastformers.training import TrainingReport, train_
from fastformers.training.progress import ProgressCallback

__all__ = ["TRAIN_LOG", "train"]

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
    max_length: int | None = None,
    truncation: Truncation | None = None,
    lost_spans: LostSpans = "drop",
    activation: str | None = None,
    head: Head | None = None,
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
        max_length: tokens after which texts are cut; at most the config's ``fixed_length``. ``None``: as a model of
            ours was trained with, for checkpoints of transformers 256.
        truncation: as :func:`fastformers.tasks.encode`. ``None``: as a model of ours was trained with, for checkpoints
            of transformers ``"keep_question"``.
        lost_spans: likewise; how many examples are dropped is in the report.
        activation: of the feed-forward layers, e.g. ``"relu"``; ``None`` leaves it. Checkpoints of transformers only.
        head: ``"cosine"`` compares the two texts of a pair, for encoders of sentence embeddings and labels that say
            how alike both are, see :class:`fastformers.modules.pair_classifier.PairClassifier`; ``None`` for the
            class's own. Checkpoints of transformers only.
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
    chosen = _in_order_of(Path(checkpoint_dir), _task(task, data_dir, regression))
    opened = open_for_task(checkpoint_dir, chosen, seed=config.seed, activation=activation, head=head)
    model, tokenizer = opened.model, opened.tokenizer
    before = opened.task_file or TaskFile(chosen, LONGEST)
    if max_length is None:
        max_length = before.max_length
    max_length = min(max_length, config.fixed_length or max_length)
    task_file = TaskFile(chosen, max_length, truncation or before.truncation)
    learned, scored = (
        task_file.encode(load_examples(chosen, data_dir, split), tokenizer, lost_spans=lost_spans)
        for split in ("train", "val")
    )
    check_second_texts(learned.examples, scored.examples, "val")
    start_head_(model, head, learned)
    task_file = learned_from(task_file, model, learned, scored)
    work = work_folder(target)
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


def _in_order_of(folder: Path, task: Task) -> Task:
    """A user's own task with its labels in the order of a classifier's, where these are the same: its head is kept.

    Capitals are no difference; labels stay written as in the data.
    """
    if task.name != CUSTOM or not (folder / "config.json").is_file():
        return task
    names = given_class_names(read_json(folder / "config.json").get("id2label"))
    order = same_classes(names, task.labels)
    return task if order is None else task_with_labels(tuple(task.labels[place] for place in order))
