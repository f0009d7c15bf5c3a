# SPDX-License-Identifier: MIT
"""``fastformers explain``: what each layer of a model computes, in which precision and why, and what it costs here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastformers.cli.exit_codes import ExitCode
from fastformers.cli.options import JsonText
from fastformers.cli.texts import read_texts, text_file_option

__all__ = ["explain"]


def explain(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", exists=True, file_okay=False, help="Folder of a model or a compiled encoder."
        ),
    ],
    length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of the text that is counted for.",
            show_default="128, or the model's limit if that is less",
        ),
    ] = None,
    texts: Annotated[Path | None, text_file_option("Count for these texts")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the expected times.")] = 1,
    as_json: JsonText = False,
) -> None:
    """Explain each layer of MODEL: shape, share of the work, precision, reason, kernel; exit 4 if not covered."""
    from rich.console import Console

    from fastformers.benchmarking.explain import Unsupported
    from fastformers.benchmarking.explain import explain as explain_model
    from fastformers.benchmarking.explain_table import show_explanation, show_unsupported

    examples = None if texts is None else read_texts(texts)
    found = explain_model(folder, length=length, texts=examples, threads=threads)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    elif isinstance(found, Unsupported):
        show_unsupported(Console(), found)
    else:
        show_explanation(Console(), found)
    if isinstance(found, Unsupported):
        raise typer.Exit(ExitCode.BAD_FILE)
