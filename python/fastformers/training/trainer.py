# SPDX-License-Identifier: MIT
"""transformers' Trainer with our batches, losses, scores and checkpoints.

What it does for us: steps, accumulation, clipping, mixed precision, devices, the optimizer's and the random states in
checkpoints and the way back into the middle of an epoch. The mixins below are put together with its classes when
training starts, so that importing this module imports no transformers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.config import TrainConfig
from fastformers.errors import NonFiniteError
from fastformers.training.progress import Shown
from fastformers.training.run_state import BestWeights, RunState
from fastformers.training.sampling import EpochBatches
from fastformers.training.schedule import Plan, make_optimizer, make_schedule
from fastformers.training.work_folder import WEIGHTS_FILE, WorkFolder

__all__ = ["SECONDS_BETWEEN_CHECKPOINTS", "Run", "Trained", "make_trainer"]

#: accelerate's names of precisions.
_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}

#: A checkpoint is written at each evaluation, and after so many seconds without one.
SECONDS_BETWEEN_CHECKPOINTS = 180.0


class Trained(nn.Module):
    """What the Trainer sees: a model and the objective it is to make small, with one scalar output."""

    def __init__(self, model: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Returns the mean loss of the batch."""
        loss: Tensor = self.objective(self.model, batch)
        return loss


@dataclass
class Run:
    """One run: what its parts share.

    Attributes:
        trained: model and objective.
        batches: loader of the training set.
        plan: when what happens.
        state: its course.
        best: a copy of the best weights; stays empty without ``score``.
        score: gives the metrics of the model on the validation set; ``None`` without one.
        work: where checkpoints go; ``None`` for none.
        show: called after each step.
    """

    trained: Trained
    batches: Any
    plan: Plan
    state: RunState
    best: BestWeights
    score: Callable[[], dict[str, float]] | None
    work: WorkFolder | None
    show: Shown


class _Steps:
    """Overrides of ``Trainer``."""

    run: Run

    def get_train_dataloader(self) -> Any:
        return self.run.batches

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, *_: Any
    ) -> tuple[list[Any], int]:
        """Returns the batches of a step, and how many examples they hold."""
        taken = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        return taken, sum(len(batch["example"]) for batch in taken)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, num_items_in_batch: int, **__: Any
    ) -> Tensor:
        """Returns the batch's part of the mean loss over all examples of the step."""
        loss: Tensor = model(inputs)
        return loss * (len(inputs["example"]) / num_items_in_batch)

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        """Runs a batch forward and back; refuses a loss that is no number."""
        loss: Tensor = super().training_step(*arguments, **named)  # type: ignore[misc]
        value = float(loss)
        if not isfinite(value):
            raise NonFiniteError(
                f"the loss is {value} in step {self.run.state.step + 1}: try a lower learning_rate, a longer warmup or "
                "a smaller max_grad_norm"
            )
        self.run.state.loss_sum += value
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Scores the model and keeps its weights if they are the best."""
        run, this = self.run, _of_trainer(self)
        metrics = None if run.score is None else run.score()
        rate = this.optimizer.param_groups[0]["lr"]
        is_best = run.state.record(run.plan.epoch(run.state.step), rate, metrics)
        if is_best and run.score is not None:
            run.best.take(run.trained.model)
        if run.score is not None and run.plan.is_enough(run.state.evaluations_without_gain):
            run.state.stopped_early = run.state.step < run.plan.steps
            this.control.should_training_stop = True
        this.control = this.callback_handler.on_evaluate(this.args, this.state, this.control, metrics or {})
        return metrics or {}

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        run, this = self.run, _of_trainer(self)
        if run.work is None:
            return
        with run.work.replaced_checkpoint(run.state, run.best) as folder:
            this.args.output_dir = str(folder)
            super()._save_checkpoint(*arguments, **named)  # type: ignore[misc]
            (made,) = folder.iterdir()  # checkpoint-<step>
            for path in made.iterdir():
                path.rename(folder / path.name)
            made.rmdir()

    def _save(self, output_dir: str, *_: Any, **__: Any) -> None:
        """Writes the weights, those of the objective too, and nothing that would have to be unpickled."""
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.run.trained.state_dict()
        weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def _of_trainer(steps: _Steps) -> Any:
    """The same object, whose attributes from ``Trainer`` type checkers cannot know."""
    return steps


class _Watch:
    """Overrides of ``TrainerCallback``: says when to evaluate and to save."""

    run: Run
    last_save: float

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        sampler: EpochBatches = self.run.batches.batch_sampler
        sampler.epoch = state.global_step // self.run.plan.steps_per_epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        run = self.run
        run.state.step = state.global_step
        run.state.loss_steps += 1
        control.should_evaluate = run.plan.evaluates_at(state.global_step)
        waited = time.monotonic() - self.last_save >= SECONDS_BETWEEN_CHECKPOINTS
        control.should_save = run.work is not None and (control.should_evaluate or waited)
        run.show(state.global_step, run.state.mean_loss, run.state.last_score)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last_save = time.monotonic()


def make_trainer(run: Run, config: TrainConfig, device: torch.device, precision: str, scratch: Path) -> Any:
    """Puts a Trainer together; ``.train(resume_from_checkpoint=...)`` runs it.

    Args:
        run: what to do; its model must be on the device.
        config: how.
        device: where.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        scratch: a folder for the Trainer, which leaves nothing of use there.

    Raises:
        MissingExtraError: transformers or accelerate is not installed.
    """
    transformers = require("transformers", "train", "training")
    require("accelerate", "train", "training")
    arguments = _arguments(transformers, run, config, device, precision, scratch)
    optimizer = make_optimizer(run.trained, config)
    schedule = make_schedule(optimizer, run.plan.steps, config.warmup)
    trainer_class = type("EncoderTrainer", (_Steps, transformers.Trainer), {"run": run})
    watch_class = type("Watch", (_Watch, transformers.TrainerCallback), {"run": run})
    watch = watch_class()
    watch.last_save = time.monotonic()
    trainer: Any = trainer_class(
        model=run.trained, args=arguments, callbacks=[watch], optimizers=(optimizer, schedule)
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # compute_loss weighs the batches of a step itself
    return trainer


def _arguments(
    transformers: Any, run: Run, config: TrainConfig, device: torch.device, precision: str, scratch: Path
) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(scratch),
        max_steps=run.plan.steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        bf16=precision == "bfloat16",
        fp16=precision == "float16",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments.mixed_precision = _MIXED[precision]  # it takes another one from the environment
    _ = arguments.device  # counts the GPUs, before we say that one is enough
    arguments._n_gpu = min(1, arguments._n_gpu)
    return arguments
