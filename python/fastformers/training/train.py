# SPDX-License-Identifier: MIT
"""``train_``: fine-tunes a model in place and leaves the weights with the best score in it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastformers.config import TrainConfig
from fastformers.counted import counted
from fastformers.tasks import EncodedExamples, evaluate, predict_logits
from fastformers.tasks.label_notes import label_notes
from fastformers.training.checks import check_run, device_of, precision_of
from fastformers.training.identity import identity_of
from fastformers.training.objective import TaskObjective
from fastformers.training.progress import ProgressCallback, showing
from fastformers.training.report import TrainingReport
from fastformers.training.run_state import BestWeights, RunState
from fastformers.training.sampling import training_batches
from fastformers.training.schedule import plan_of
from fastformers.training.trainer import Run, Trained, make_trainer
from fastformers.training.work_folder import WorkFolder

__all__ = ["train_"]


def train_(
    model: nn.Module,
    train: EncodedExamples,
    val: EncodedExamples | None,
    config: TrainConfig | None = None,
    *,
    objective: nn.Module | None = None,
    work_dir: str | Path | None = None,
    progress: ProgressCallback | bool | None = None,
) -> TrainingReport:
    """Trains a model in place.

    At the end the model is in evaluation mode, on the device where it was, with the weights of the evaluation that had
    the best score (of equal ones the first), or the last weights where there is no validation set. The global random
    states are as they were. On a CPU the same call, with as many threads, gives the same bits.

    Args:
        model: called with the collator's tensors; its output has ``.logits``. A head's width must be the task's.
        train: what to learn from.
        val: labelled examples that choose the weights; ``None``: nothing is scored.
        config: how; ``None`` for ``TrainConfig()``.
        objective: the loss, a module like :class:`fastformers.training.Objective`; ``None`` for the task's own.
        work_dir: a folder for checkpoints, made if missing. Called again with it after being killed, and with the same
            model as at first, data and config, the run goes on from its last checkpoint; on a CPU it ends with the same
            bits as if nothing had happened. Never hand in a folder from someone else: it is trusted as one's own files
            are, though what torch wrote there is read with ``weights_only=True``.
        progress: called with ("train", steps done, steps in all) after each step; or True for a bar, or lines where
            there is no terminal, with loss, score and time left on standard error.

    Returns:
        The report.

    Raises:
        ConfigError: no examples, unlabelled ones where labels are needed, a fixed length that a text exceeds, another
            task's validation set, a precision the device lacks, or a work folder of another run.
        UnsupportedModelError: the model holds INT8 layers, nothing that can be trained, or weights to be trained in
            half.
        NonFiniteError: the loss or a logit became NaN or infinite. The model is in no useful state then.
        FormatError: a file of the work folder is damaged.
        MissingExtraError: transformers, accelerate or scikit-learn is not installed.

    Example:
        >>> report = train_(model, train, val, TrainConfig(epochs=5, patience=2))  # doctest: +SKIP
    """
    config = config or TrainConfig()
    check_run(model, train, val, config, needs_labels=objective is None)
    objective = objective or TaskObjective()
    device = device_of(config)
    precision = precision_of(config, device)
    best, state, work = BestWeights(), RunState(), None
    plan = plan_of(config, len(train))
    home = next(model.parameters()).device
    with ExitStack() as held:
        if work_dir is not None:
            settings = config.to_dict() | {
                "device": str(device),
                "precision": precision,
            }  # not "auto": it may change
            work = WorkFolder(Path(work_dir), identity_of(model, objective, train, val, settings))
            held.callback(work.close)
            state = work.read(best)
        resumed_from = state.step or None
        held.enter_context(_kept_random_states())
        scratch = held.enter_context(tempfile.TemporaryDirectory())
        show = held.enter_context(showing(progress, plan.steps, state.step))
        trained = Trained(model, objective).to(device)
        run = Run(
            trained,
            training_batches(train, config),
            plan,
            state,
            best,
            _scorer(model, val, config, device),
            work,
            show,
        )
        try:
            _train(run, config, device, precision, Path(scratch))
        finally:
            trained.zero_grad(set_to_none=True)
            trained.eval()
            trained.to(home)
    best.put_into(model)
    return TrainingReport(
        task=train.task.name,
        metric=train.task.main_metric,
        score=state.score,
        metrics=state.metrics,
        best_step=state.best_step,
        steps=state.step,
        planned_steps=plan.steps,
        stopped_early=state.stopped_early,
        seconds=state.elapsed,
        resumed_from=resumed_from,
        device=str(device),
        precision=precision,
        parameters=sum(one.numel() for one in model.parameters() if one.requires_grad),
        examples=len(train),
        val_examples=0 if val is None else len(val),
        history=tuple(state.history),
        config=config,
        notes=_notes(train, val),
    )


def _train(run: Run, config: TrainConfig, device: torch.device, precision: str, scratch: Path) -> None:
    """Runs the steps that are left; loads the last weights where none are."""
    if run.work is not None and (run.state.stopped_early or run.state.step >= run.plan.steps):
        run.work.load_weights(run.trained)
        return
    checkpoint = None if run.work is None else run.work.trainer_folder
    trainer = make_trainer(run, config, device, precision, scratch)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def _scorer(
    model: nn.Module, val: EncodedExamples | None, config: TrainConfig, device: torch.device
) -> Callable[[], dict[str, float]] | None:
    if val is None:
        return None

    def score() -> dict[str, float]:
        logits = predict_logits(model, val, config.eval_batch_size, device, config.fixed_length)
        return evaluate(val.task, val.examples, logits)

    return score


@contextmanager
def _kept_random_states() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _notes(train: EncodedExamples, val: EncodedExamples | None) -> tuple[str, ...]:
    notes = []
    for name, encoded in (("training", train), ("validation", val)):
        if encoded is not None and encoded.truncated:
            notes.append(f"{counted(encoded.truncated, f'{name} text')} cut at {encoded.max_length} tokens")
        if encoded is not None and encoded.dropped:
            lost = counted(len(encoded.dropped), f"{name} example")
            notes.append(f"{lost} left out: a marked span was lost to the cut")
    return (*notes, *label_notes(train.task, () if val is None else val.examples))
