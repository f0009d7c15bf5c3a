# SPDX-License-Identifier: MIT
"""``fastformers prune``: a model folder in, the folder of a smaller model and its report out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fastformers._optional import require
from fastformers.cli.layers import layer_numbers
from fastformers.cli.options import JsonReport, ModelFolder, OutputFolder, Overwrite, data_option
from fastformers.cli.reports import print_report
from fastformers.cli.texts import read_texts, text_file_option
from fastformers.config import PruneConfig, PruneScores

__all__ = ["prune"]


def _count_or_share(text: str) -> int | float:
    """Reads ``"6"`` as a count and ``"0.5"`` as a share."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor a share like 0.5") from error


def prune(
    folder: ModelFolder,
    output: OutputFolder,
    data: Annotated[Path | None, data_option("Data of the model's task, to score on.")] = None,
    heads: Annotated[
        str | None, typer.Option(metavar="N", help="Heads to keep in a layer: a count, or a share below 1.")
    ] = None,
    ffn: Annotated[
        str | None, typer.Option(metavar="N", help="Neurons to keep in a layer: a count, or a share below 1.")
    ] = None,
    macs: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Instead: share of the work of linear layers to keep, ranked globally."
        ),
    ] = None,
    rank_globally: Annotated[
        bool, typer.Option("--global", help="Rank all layers together; counts are averages then.")
    ] = False,
    scores: Annotated[PruneScores, typer.Option(help="What a head or neuron is worth.")] = "first_order",
    split: Annotated[
        Literal["train", "val"], typer.Option(help="Examples to score on; val is the paper's way, and leaks.")
    ] = "train",
    examples: Annotated[int, typer.Option(min=1, help="Score on at most so many examples.")] = 2048,
    multiple: Annotated[int, typer.Option(min=1, help="Neurons kept are a multiple of this.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the examples drawn, and of random scores.")] = 42,
    layers: Annotated[
        str | None, typer.Option(metavar="LIST", help="Layers to keep, from 0, like 0,2,4.")
    ] = None,
    vocabulary: Annotated[Path | None, text_file_option("Keep only the pieces of these texts")] = None,
    overwrite: Overwrite = False,
    as_json: JsonReport = False,
) -> None:
    """Prune heads, neurons, layers or the vocabulary of the model in DIR and save the result in OUT."""
    require("torch", "torch", "prune")
    require("transformers", "torch", "prune")
    from fastformers.recipes.pruning import prune_folder

    config = PruneConfig(
        heads=None if heads is None else _count_or_share(heads),
        ffn=None if ffn is None else _count_or_share(ffn),
        ranking="global" if rank_globally or macs is not None else "layer",
        macs=macs,
        scores=scores,
        max_examples=examples,
        ffn_multiple=multiple,
        seed=seed,
    )
    report = prune_folder(
        folder,
        output,
        data,
        config,
        split=split,
        layers=None if layers is None else layer_numbers(layers),
        vocabulary_texts=None if vocabulary is None else read_texts(vocabulary),
        overwrite=overwrite,
    )
    print_report(report, output, as_json=as_json)
