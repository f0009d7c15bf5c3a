# SPDX-License-Identifier: MIT
"""``fastformers distill``: a teacher's folder, where the student starts, and data in; the student's folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastformers._optional import require
from fastformers.cli.layers import layer_numbers
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
from fastformers.config import AttentionKind, DistillConfig, Head, HiddenDistance, TrainConfig

__all__ = ["distill"]

_TRAINING = TrainConfig()


def distill(
    teacher: Annotated[
        Path, typer.Option(metavar="DIR", exists=True, file_okay=False, help="Folder of a trained model.")
    ],
    student: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Where the student starts: a checkpoint, a pruned model, or the teacher again, with --layers.",
        ),
    ],
    data: Annotated[Path, data_option("Folder of the task's files.")],
    output: OutputFolder,
    layers: Annotated[
        str | None, typer.Option(metavar="0,2,4", help="Layers that the student keeps. Default: all.")
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Heads that the student keeps in a layer, the first."),
    ] = None,
    ffn: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Neurons that it keeps in a layer, the first.")
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Its width, a multiple of the head size.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(metavar="NAME", help="The student's in its feed-forward layers, e.g. relu.")
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(
            help="The student's: cosine compares both texts of a pair, for sentence encoders. Default: the class's own."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Softens the teacher's answers.")] = 1.0,
    hard_labels: Annotated[float, typer.Option(help="Share of the labels' own loss, 0 to 1.")] = 0.0,
    embeddings: Annotated[float, typer.Option(help="Weight of the embeddings' distance.")] = 0.0,
    hidden_states: Annotated[float, typer.Option(help="Weight of the hidden states' distance.")] = 0.0,
    hidden_distance: Annotated[HiddenDistance, typer.Option(help="How it is measured.")] = "mse",
    attention: Annotated[float, typer.Option(help="Weight of attention's distance.")] = 0.0,
    attention_kind: Annotated[
        AttentionKind, typer.Option(help="relations fit any widths; probabilities need equal heads.")
    ] = "relations",
    layer_map: Annotated[
        str | None,
        typer.Option(metavar="0:1,2:5", help="Pairs student:teacher to compare. Default: evenly spread."),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            metavar="test|FILE",
            help="Further texts: the task's own test set, its labels unseen; or .txt, one a line; or .csv or .jsonl "
            'with "text" (and "text_pair"; in .jsonl "spans", where the task marks some).',
        ),
    ] = None,
    epochs: Epochs = _TRAINING.epochs,
    max_steps: MaxSteps = None,
    learning_rate: LearningRate = _TRAINING.learning_rate,
    batch_size: BatchSize = _TRAINING.batch_size,
    accumulation: Accumulation = _TRAINING.accumulation,
    weight_decay: WeightDecay = _TRAINING.weight_decay,
    warmup: Warmup = _TRAINING.warmup,
    max_grad_norm: MaxGradNorm = _TRAINING.max_grad_norm,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = _TRAINING.seed,
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS", help="Longer texts are cut. Default: as the teacher was trained, or 256."
        ),
    ] = None,
    fixed_length: FixedLength = None,
    evaluate_every: EvaluateEvery = None,
    patience: Patience = None,
    device: TrainingDevice = _TRAINING.device,
    precision: TrainingPrecision = _TRAINING.precision,
    overwrite: Overwrite = False,
    as_json: JsonReport = False,
) -> None:
    """Train a smaller model to answer like the one in --teacher, and save it in OUT."""
    require("torch", "torch", "distill")
    require("accelerate", "train", "distill")
    from fastformers.recipes.distilling import distill_folders

    config = DistillConfig(
        temperature=temperature,
        hard_labels=hard_labels,
        embeddings=embeddings,
        hidden_states=hidden_states,
        hidden_distance=hidden_distance,
        attention=attention,
        attention_kind=attention_kind,
        layer_map="auto" if layer_map is None else _pairs(layer_map),
        train=TrainConfig(
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
        ),
    )
    report = distill_folders(
        teacher,
        student,
        data,
        output,
        layers=None if layers is None else layer_numbers(layers),
        heads=heads,
        ffn=ffn,
        hidden=hidden,
        activation=activation,
        head=head,
        config=config,
        max_length=max_length,
        unlabelled=unlabelled,
        overwrite=overwrite,
        progress=not as_json,
    )
    print_report(report, output, as_json=as_json)


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Reads ``0:1,2:5``."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((int(student), int(teacher)) for student, teacher in pairs)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no list of pairs such as 0:1,2:5", param_hint="--layer-map"
        ) from error
