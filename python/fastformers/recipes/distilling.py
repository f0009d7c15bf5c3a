# SPDX-License-Identifier: MIT
"""``distill``: a student learns from its teacher's answers; ``distill_folders``: the same from folder to folder.

The teacher's logits are computed once, then the student is trained on them by the training room. With a work folder
both survive a kill: logits are kept in it, and so is the training's state.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastformers.config import DistillConfig, Head
from fastformers.distillation import DistillObjective, DistillReport, ModelSize, check_pair, teacher_logits
from fastformers.distillation.objective import compared_layers
from fastformers.distillation.teacher_outputs import is_kept
from fastformers.errors import ConfigError, FormatError, UnsupportedModelError
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_file import half_written, replace_file
from fastformers.files.replaced_folder import check_place
from fastformers.files.strict_json import json_bytes, read_json
from fastformers.modules import PackedLinear, holds_packed_layers
from fastformers.modules.encoder_names import parts_of
from fastformers.modules.rowwise_embedding import RowwiseEmbedding
from fastformers.quantization.progress import ProgressCallback
from fastformers.recipes.distilling_data import PairData, pair_data
from fastformers.recipes.model_folder import LONGEST, OpenedModel, learned_from, open_model, save_model
from fastformers.recipes.output_names import work_folder
from fastformers.recipes.pair_start import start_head_
from fastformers.recipes.students import open_student
from fastformers.tasks import EncodedExamples, evaluate
from fastformers.training import train_
from fastformers.training.checks import check_run, device_of, precision_of

__all__ = ["distill", "distill_folders"]

_WORK_FILE = "distill.json"
_LOGITS = "teacher"
_REPORT_FILE = "distill_report.json"


def distill(
    teacher: nn.Module,
    student: nn.Module,
    train: EncodedExamples,
    *,
    eval: EncodedExamples | None = None,
    config: DistillConfig | None = None,
    teacher_train: EncodedExamples | None = None,
    teacher_eval: EncodedExamples | None = None,
    work_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    progress: ProgressCallback | bool | None = None,
) -> DistillReport:
    """Trains a student, in place, to answer like its teacher.

    Args:
        teacher: any model whose output has ``.logits``, quantized and compiled ones included; not changed.
        student: what is trained: cut from the teacher by :func:`fastformers.distillation.make_student`, pruned, or of
            any checkpoint. In evaluation mode afterwards, with the weights that scored best on ``eval``.
        train: the examples in the student's tokenisation; labels are optional.
        eval: labelled examples to choose the best weights by; ``None``: the last weights stay.
        config: see :class:`fastformers.DistillConfig`; by default the teacher's logits alone.
        teacher_train: the same examples in the teacher's tokenisation; ``None``: both read the student's tokens.
        teacher_eval: the same for ``eval``, for the teacher's score.
        work_dir: folder that makes the run resumable, and is trusted like code is; must belong to this run alone.
        cache_dir: folder of teachers' logits, which any number of runs may share: what one of them had a teacher
            answer, the next one reads. ``None``: in the work folder.
        progress: as :func:`fastformers.train`.

    Returns:
        The report: both scores and their difference.

    Raises:
        ConfigError: the two do not fit each other, or the data, or the work folder is of another run; says how.
        UnsupportedModelError: the student cannot be trained, or a loss of tokens is asked of an unknown family.
        NonFiniteError: the teacher's logits, or the loss, are not finite.

    Example:
        >>> student = make_student(teacher, layers=(0, 2, 4))
        >>> report = ff.distill(teacher, student, train, eval=val)  # doctest: +SKIP
    """
    chosen = DistillConfig() if config is None else config
    scored = teacher_eval if teacher_train is not None else (teacher_eval or eval)
    work = None if work_dir is None else Path(work_dir)
    # The teacher may run for hours: whatever can be refused is refused before.
    notes = check_pair(teacher, student, chosen, train, teacher_train, eval=eval, teacher_eval=scored)
    check_run(student, train, eval, chosen.train, needs_labels=False)
    compared_layers(student, teacher, chosen)
    precision_of(chosen.train, device_of(chosen.train))
    if work is not None:
        _check_work(work)
    device = _device_of(teacher, chosen)
    if cache_dir is None and work is not None:
        cache_dir = work / _LOGITS
    answers = partial(
        teacher_logits,
        teacher,
        batch_size=chosen.train.eval_batch_size,
        device=device,
        cache_dir=cache_dir,
        fixed_length=chosen.train.fixed_length,
    )
    with _borrowed(teacher, device):
        logits = answers(train if teacher_train is None else teacher_train)
        teacher_score = None if scored is None else _score(scored, answers(scored))
        objective = DistillObjective(student, teacher, train, logits, chosen, teacher_train)
        if work is not None:
            _claim(work, objective.describe())
        training = train_(
            student,
            train,
            eval,
            chosen.train,
            objective=objective,
            work_dir=None if work is None else work / "train",
            progress=progress,
        )
    return DistillReport(
        metric=train.task.main_metric,
        teacher_score=teacher_score,
        student_score=training.score,
        teacher=_size(teacher),
        student=_size(student),
        examples=len(train),
        unlabelled=sum("labels" not in feature for feature in train),
        config=chosen.to_dict(),
        training=training.to_dict(),
        notes=notes,
    )


def distill_folders(
    teacher_dir: str | Path,
    student_dir: str | Path,
    data_dir: str | Path,
    output: str | Path,
    *,
    layers: Sequence[int] | None = None,
    heads: int | None = None,
    ffn: int | None = None,
    hidden: int | None = None,
    activation: str | None = None,
    head: Head | None = None,
    config: DistillConfig | None = None,
    max_length: int | None = None,
    unlabelled: str | Path | None = None,
    cache_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | bool | None = True,
) -> DistillReport:
    """Distils from folder to folder; run again after a kill, the same call goes on where it was.

    Args:
        teacher_dir: a model with its ``task.json``, as :func:`fastformers.train` saves it; or a classifier of
            transformers whose config names its classes, for your own files.
        student_dir: where the student starts: a checkpoint of transformers, which gets a head for the task, drawn with
            the training's seed; a model of ours as it is (a pruned one, for example); or the teacher's folder again, to
            be cut by ``layers``.
        data_dir: the task's files; ``train`` and ``val`` are read.
        output: folder to make, with the student, its task and the report.
        layers: the student's layers to keep, from 0; ``None`` keeps all.
        heads: attention heads to keep in a layer, the first ones; ``None`` keeps as many as fill ``hidden``.
        ffn: neurons of the feed-forward network to keep, the first ones; ``None`` keeps all.
        hidden: width of everything else, a multiple of the head size; ``None`` leaves it. Answers of a narrower student
            are of no use before it has learned; :func:`fastformers.prune_` chooses heads and neurons by their worth.
        activation: of the student's feed-forward network, e.g. ``"relu"``; ``None`` leaves it.
        head: of a student's checkpoint: ``"cosine"`` compares the two texts of a pair, for encoders of sentence
            embeddings and labels that say how alike both are, see
            :class:`fastformers.modules.pair_classifier.PairClassifier`; ``None`` for the class's own.
        config: see :class:`fastformers.DistillConfig`.
        max_length: tokens after which texts are cut; ``None``: as the teacher's ``task.json`` says, without one at most
            256; at most the fixed length if there is one.
        unlabelled: further texts to learn the teacher's answers on: ``"test"``, the task's own test set, whose labels
            are not looked at; or a file: ``.txt``, one a line, or ``.csv`` or ``.jsonl`` with ``text`` and, for
            tasks of pairs, ``text_pair``, in the form that the task gives its own; for tasks that mark spans ``.jsonl``
            with ``spans``, characters [start, end) in the order of the task's.
        cache_dir: as :func:`fastformers.distill`.
        overwrite: replace a model saved there before.
        progress: as :func:`fastformers.train`.

    Returns:
        The report, which is also in the output folder, as ``distill_report.json``.

    Raises:
        ConfigError, FormatError, UnsupportedModelError: a folder, a file or a choice is refused; says why. Nothing is
            written then, but the work folder ``<output>.work`` stays, for the next try.

    Example:
        >>> ff.distill_folders("teacher", "teacher", "boolq", "student", layers=(0, 2, 4))  # doctest: +SKIP
    """
    chosen = DistillConfig() if config is None else config
    target = Path(output).absolute()
    check_place(target, overwrite, MANIFEST)
    teacher = open_model(teacher_dir)
    task_file = teacher.required_task()
    longest = _usual_length(teacher) if max_length is None else max_length
    longest = min(longest, chosen.train.fixed_length or longest)
    task_file = replace(task_file, max_length=longest)
    student = open_student(
        Path(student_dir),
        teacher,
        task_file.task,
        layers,
        activation,
        seed=chosen.train.seed,
        head=head,
        heads=heads,
        intermediate=ffn,
        hidden=hidden,
    )
    data = pair_data(Path(data_dir), task_file, student.tokenizer, teacher.tokenizer, unlabelled)
    start_head_(student.model, head, data.train)
    work = work_folder(target)
    report = distill(
        teacher.model,
        student.model,
        data.train,
        eval=data.val,
        config=chosen,
        teacher_train=data.teacher_train,
        teacher_eval=data.teacher_val,
        work_dir=work,
        cache_dir=cache_dir,
        progress=progress,
    )
    report = replace(report, notes=(*report.notes, *_data_notes(data)))
    extra = {_REPORT_FILE: report.to_dict(), "train_log.json": report.training}
    task_file = learned_from(task_file, student.model, data.train, data.val)
    save_model(student.model, target, student.tokenizer, task_file, extra=extra, overwrite=overwrite)
    shutil.rmtree(work, ignore_errors=True)
    return report


def _usual_length(teacher: OpenedModel) -> int:
    """Where texts are cut if nobody says it: a classifier of transformers may take far more than training can."""
    most = teacher.required_task().max_length
    return most if teacher.task_file is not None else min(most, LONGEST)


def _data_notes(data: PairData) -> tuple[str, ...]:
    return (
        (f"{data.dropped} examples were left out: truncation removed a marked span",) if data.dropped else ()
    )


def _device_of(teacher: nn.Module, config: DistillConfig) -> torch.device:
    """Where the teacher runs: with the student, but INT8 layers and compiled encoders run on the CPU alone."""
    packed = holds_packed_layers(teacher)
    if packed or next(teacher.parameters(), None) is None:
        return torch.device("cpu")
    return device_of(config.train)


@contextmanager
def _borrowed(teacher: nn.Module, device: torch.device) -> Iterator[None]:
    """Puts the teacher onto a device, and back to where and how it was."""
    training = [module for module in teacher.modules() if module.training]
    parameter = next(teacher.parameters(), None)
    before = device if parameter is None else parameter.device
    if before != device:
        teacher.to(device)
    try:
        yield
    finally:
        if parameter is not None:
            teacher.to(before)
        for module in training:
            module.training = True


def _score(examples: EncodedExamples, logits: torch.Tensor) -> float:
    return evaluate(examples.task, examples.examples, logits.numpy())["score"]


def _check_work(work: Path) -> None:
    """Refuses a folder that no distillation made: it would be written into, and may be removed at the end.

    A run that was killed early has left no note, but its teacher's logits, or half a note.

    Raises:
        ConfigError: it holds something else.
    """
    if not os.path.lexists(work) or (work / _WORK_FILE).is_file():
        return
    if not work.is_dir() or not {*work.iterdir()} <= {*half_written(work / _WORK_FILE), *_kept_logits(work)}:
        raise ConfigError(f"{work} holds no {_WORK_FILE}, so it is no work folder: choose another path")


def _kept_logits(work: Path) -> list[Path]:
    """The folder of a teacher's logits, where nothing else lies in it."""
    folder = work / _LOGITS
    return [folder] if folder.is_dir() and all(map(is_kept, folder.iterdir())) else []


def _claim(work: Path, facts: Mapping[str, Any]) -> None:
    """Writes down whose the work folder is, or checks that it is this run's.

    Raises:
        ConfigError: it is of a run that loses differently; names what differs.
        FormatError: the note in it is damaged.
    """
    path = work / _WORK_FILE
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        replace_file(path, json_bytes(dict(facts)))
        return
    try:
        found = read_json(path)
    except FormatError as error:
        raise FormatError(f"{error}: the run cannot go on; delete {work} to start anew") from error
    differing = sorted(name for name in {*found, *facts} if found.get(name) != facts.get(name))
    if differing:
        raise ConfigError(
            f"{work} is of another run: {', '.join(differing)} differ; finish that one, or delete the folder"
        )


def _size(model: nn.Module) -> ModelSize:
    """Of what a model shows: a compiled encoder shows neither layers nor weights."""
    try:
        layers = len(parts_of(model).layers)
    except UnsupportedModelError:
        layers = None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for module in model.modules():  # INT8 weights are buffers
        if isinstance(module, PackedLinear):
            parameters += module.in_features * module.out_features
        elif isinstance(module, RowwiseEmbedding):
            parameters += module.num_embeddings * module.embedding_dim
    return ModelSize(layers, parameters or None)
