# SPDX-License-Identifier: MIT
"""``fastformers train``: a checkpoint and a task's data in, a model folder and its training log out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fastformers._optional import require
from fastformers.cli.options import (
    Accumulation,
    BatchSize,
    Epochs,
    EvaluateEvery,
    FixedLength,
    JsonReport,
    LearningRate,
    MaxGradNorm,
    MaxSteps,
    OutputFolder,
    Overwrite,
    Patience,
    TrainingDevice,
    TrainingPrecision,
    Warmup,
    WeightDecay,
    data_option,
)
from fastformers.cli.reports import print_report
from fastformers.config import Head, TrainConfig

__all__ = ["train"]

_DEFAULTS = TrainConfig()


def train(
    model: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Checkpoint of transformers, or a model of ours.",
        ),
    ],
    data: Annotated[Path, data_option("The task's files, or train and val of yours.")],
    output: OutputFolder,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="boolq, rte, sst2, ...; without it, your own files.")
    ] = None,
    regression: Annotated[bool, typer.Option("--regression", help="Labels are numbers to predict.")] = False,
    epochs: Epochs = _DEFAULTS.epochs,
    max_steps: MaxSteps = None,
    learning_rate: LearningRate = _DEFAULTS.learning_rate,
    batch_size: BatchSize = _DEFAULTS.batch_size,
    accumulation: Accumulation = _DEFAULTS.accumulation,
    weight_decay: WeightDecay = _DEFAULTS.weight_decay,
    warmup: Warmup = _DEFAULTS.warmup,
    max_grad_norm: MaxGradNorm = _DEFAULTS.max_grad_norm,
    seed: Annotated[
        int, typer.Option(help="Of the head, dropout and the order of examples.")
    ] = _DEFAULTS.seed,
    evaluate_every: EvaluateEvery = None,
    patience: Patience = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS", help="Longer texts are cut. Default: 256, or as the model was trained with."
        ),
    ] = None,
    fixed_length: FixedLength = None,
    truncation: Annotated[
        Literal["keep_question", "longest_first"] | None,
        typer.Option(
            help="longest_first is the paper's. Default: keep_question, or as the model was trained with."
        ),
    ] = None,
    lost_spans: Annotated[
        Literal["drop", "error"],
        typer.Option(
            help="Examples whose marked words the cut removes: leave them out, or stop at the first."
        ),
    ] = "drop",
    activation: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the feed-forward layers, e.g. relu.")
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(
            help="cosine compares both texts of a pair, for sentence encoders. Default: the class's own."
        ),
    ] = None,
    device: TrainingDevice = _DEFAULTS.device,
    precision: TrainingPrecision = _DEFAULTS.precision,
    overwrite: Overwrite = False,
    as_json: JsonReport = False,
) -> None:
    """Fine-tune the model on a task, keep the best weights, save them in OUT. Run again after a kill, it goes on."""
    require("torch", "train", "train")
    require("transformers", "train", "train")
    import fastformers as ff

    config = TrainConfig(
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        accumulation=accumulation,
        weight_decay=weight_decay,
        warmup=warmup,
        max_grad_norm=max_grad_norm,
        seed=seed,
        evaluate_every=evaluate_every,
        patience=patience,
        fixed_length=fixed_length,
        precision=precision,
        device=device,
    )
    report = ff.train(
        model,
        data,
        output,
        task=task,
        regression=regression,
        config=config,
        max_length=max_length,
        truncation=truncation,
        lost_spans=lost_spans,
        activation=activation,
        head=head,
        overwrite=overwrite,
    )
    print_report(report, output, as_json=as_json)
