# SPDX-License-Identifier: MIT
"""``fastformers evaluate``: a model folder and its task's data in, the task's metrics out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastformers._optional import require
from fastformers.cli.options import data_option

__all__ = ["evaluate"]


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Model folder, of any kind.")
    ],
    data: Annotated[Path, data_option("The task's files.")],
    split: Annotated[str, typer.Option(help="train, val, test; MNLI has val_mismatched.")] = "val",
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="A diagnostic: axb or axg for a model of RTE.")
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the answers in the official form.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples of a batch.")] = 32,
    fixed_length: Annotated[
        int | None,
        typer.Option(min=1, metavar="L", help="Pad all batches to L tokens, the paper's baseline."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as one JSON object.")] = False,
) -> None:
    """Score the model in DIR on the data of its task."""
    require("torch", "train", "evaluate")
    require("transformers", "train", "evaluate")
    import fastformers as ff

    metrics = ff.evaluate(
        folder,
        data,
        task=task,
        split=split,
        batch_size=batch_size,
        fixed_length=fixed_length,
        submission=submission,
    )
    if as_json:
        typer.echo(json.dumps(metrics, indent=2))
        return
    for name, value in metrics.items():
        typer.echo(f"{name:16} {value:8.4f}")
    if submission is not None:
        typer.echo(f"Answers in {submission}")
