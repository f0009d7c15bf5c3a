# SPDX-License-Identifier: MIT
"""``fastformers quantize``: a model folder in, an INT8 model folder and its report out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastformers._optional import require
from fastformers.cli.options import JsonReport, ModelFolder, OutputFolder, Overwrite, RoundingOfWeights
from fastformers.cli.reports import print_report
from fastformers.cli.texts import read_texts, text_file_option
from fastformers.config import Int8Config

__all__ = ["quantize"]


def quantize(
    model_folder: ModelFolder,
    output: OutputFolder,
    texts: Annotated[Path | None, text_file_option("Texts like yours (default: bundled ones)")] = None,
    rounding: RoundingOfWeights = "nearest",
    max_disagreement: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of answers that may change; more is exit 3."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Module to keep float; may be repeated.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: JsonReport = False,
) -> None:
    """Quantize the linear layers of the model in DIR to INT8 and save the result in OUT."""
    require("torch", "torch", "quantize")
    require("transformers", "torch", "quantize")
    from fastformers.recipes.quantizing import quantize_folder

    config = Int8Config(rounding=rounding, max_disagreement=max_disagreement, exclude=tuple(exclude or ()))
    examples = None if texts is None else read_texts(texts)
    report = quantize_folder(model_folder, output, config, texts=examples, overwrite=overwrite)
    print_report(report, output, as_json=as_json)
