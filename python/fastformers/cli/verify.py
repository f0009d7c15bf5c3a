# SPDX-License-Identifier: MIT
"""``fastformers verify``: an artefact's files, format and golden outputs, on every instruction set of this CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastformers.cli.exit_codes import ExitCode
from fastformers.cli.options import JsonText

__all__ = ["verify"]


def verify(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder of a compiled encoder."),
    ],
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also the scalar kernels on long sequences, each sequence alone, one thread and all.",
        ),
    ] = False,
    as_json: JsonText = False,
) -> None:
    """Verify that the encoder in DIR is as saved and gives the same answers here; exit 4 if damaged, 3 if not."""
    from fastformers.runtime.verification import verify_artefact

    found = verify_artefact(folder, full=full)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
    if not found.passed:
        raise typer.Exit(ExitCode.GATE_FAILED)
