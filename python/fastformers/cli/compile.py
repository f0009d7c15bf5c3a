# SPDX-License-Identifier: MIT
"""``fastformers compile``: a model folder in, a compiled encoder's folder for ``Engine`` out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastformers._optional import require
from fastformers.benchmarking.int8_gain import int8_note
from fastformers.cli.options import (
    EmbeddingPooling,
    JsonReport,
    ModelFolder,
    Normalize,
    OutputFolder,
    Overwrite,
    RoundingOfWeights,
    data_option,
)
from fastformers.cli.texts import read_texts, text_file_option
from fastformers.config import AttentionMode
from fastformers.errors import ConfigError

__all__ = ["compile_model"]


def compile_model(
    model_folder: ModelFolder,
    output: OutputFolder,
    data: Annotated[Path | None, data_option("The task's data, to calibrate on.")] = None,
    texts: Annotated[Path | None, text_file_option("Texts to calibrate with")] = None,
    float32: Annotated[bool, typer.Option("--float32", help="Leave every linear layer float32.")] = False,
    rounding: RoundingOfWeights = "nearest",
    int8_embeddings: Annotated[
        bool,
        typer.Option("--int8-embeddings", help="Word embeddings in 8 bits too: a quarter of their size."),
    ] = False,
    attention: Annotated[AttentionMode, typer.Option(help="Products of attention.")] = "auto",
    pooling: EmbeddingPooling = None,
    normalize: Normalize = False,
    overwrite: Overwrite = False,
    as_json: JsonReport = False,
) -> None:
    """Compile the model in DIR into a native encoder with INT8 layers and save it in OUT.

    Layers that are INT8 already stay as they are: --rounding and --float32 are refused for them.
    """
    require("torch", "torch", "compile")
    require("transformers", "torch", "compile")
    import fastformers as ff
    from fastformers.recipes.compile_folder import compile_folder, saved_notes

    if sum((data is not None, texts is not None, float32)) > 1:
        raise ConfigError("--data, --texts and --float32 exclude each other: choose one")
    if float32 and rounding != "nearest":
        raise ConfigError(
            "--rounding is how weights become INT8, and --float32 leaves them as they are: leave one out"
        )
    config = ff.CompileConfig(
        int8=None if float32 else ff.Int8Config(rounding=rounding),
        int8_embeddings=int8_embeddings,
        attention=attention,
        pooling=pooling,
        normalize=normalize,
    )
    given = None if texts is None else read_texts(texts)
    report = compile_folder(model_folder, output, config, data_dir=data, texts=given, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(None if report is None else report.to_dict(), indent=2))
    else:
        typer.echo(str(report or "every linear layer is as it was"))
        for note in (*saved_notes(output), *_notes_on_this_cpu(float32)):
            typer.echo(f"note: {note}")
        typer.echo(f"Saved in {output}")


def _notes_on_this_cpu(float32: bool) -> list[str]:
    """What is so here and need not be so where the folder will run; kept out of it for that reason."""
    note = None if float32 else int8_note()
    return [note] if note else []
