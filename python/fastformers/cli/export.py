# SPDX-License-Identifier: MIT
"""``fastformers export``: a model folder in, ONNX files for ONNX Runtime out, compared with the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from fastformers._optional import require
from fastformers.cli.options import EmbeddingPooling, ModelFolder, Normalize
from fastformers.cli.texts import read_texts, text_file_option

__all__ = ["export"]

_OURS = {"int8-fastformers"}
_CALIBRATED = {"int8", *_OURS}


def export(
    model_folder: ModelFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", file_okay=False, help="Folder to write into.")
    ],
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="fp32, fp16, int8 or int8-fastformers; may be given several times.",
            show_default="fp32",
        ),
    ] = None,
    texts: Annotated[Path | None, text_file_option("Texts to calibrate INT8 with")] = None,
    pooling: EmbeddingPooling = None,
    normalize: Normalize = False,
    native: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of int8-fastformers, what our operators hold: the whole encoder, or layers (a node each).",
            show_default="encoder",
        ),
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial",
            help="Blocks may stand as their parts; with --native layers, float32 layers may be ONNX Runtime's.",
        ),
    ] = False,
    check: Annotated[bool, typer.Option(help="Compare with the model; exit 3 when they differ.")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the same precision's file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as one JSON array.")] = False,
) -> None:
    """Write the model in DIR as ONNX: one file for each precision, tokenizer and configuration beside it."""
    require("torch", "torch", "export")
    require("onnx", "onnx", "export")
    require("onnxruntime", "onnx", "export")
    import fastformers as ff
    from fastformers.recipes.exporting import check_export

    config = ff.CompileConfig(pooling=pooling, normalize=normalize)
    given = None if texts is None else read_texts(texts)
    chosen: list[Any] = [*precision] if precision else ["fp32"]
    form = cast("Any", native)
    for each in chosen:  # before the first is written
        check_export(output, each, form if _concerns(_OURS, each, chosen) else None, overwrite)
    reports = []
    for each in chosen:
        one_node = each == "int8-fastformers" and native != "layers"
        report = ff.export_onnx(
            model_folder,
            output,
            each,
            texts=given if _concerns(_CALIBRATED, each, chosen) else None,
            config=config,
            check=check,
            overwrite=overwrite,
            native=form if _concerns(_OURS, each, chosen) else None,
            allow_partial=allow_partial and not (one_node and len(chosen) > 1),
        )
        reports.append(report)
        if not as_json:
            typer.echo(str(report))
    typer.echo(
        json.dumps([report.to_dict() for report in reports], indent=2) if as_json else f"Saved in {output}"
    )


def _concerns(precisions: set[str], each: str, chosen: list[str]) -> bool:
    """Whether an option of some precisions goes to this one; where none of them is chosen, the export refuses it."""
    return each in precisions or precisions.isdisjoint(chosen)
