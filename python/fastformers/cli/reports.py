# SPDX-License-Identifier: MIT
"""How a verb ends: its report, as text or as JSON, and where the folder is that it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

__all__ = ["print_report"]


def print_report(report: Any, output: Path | None, *, as_json: bool) -> None:
    """Prints a report.

    Args:
        report: prints as text, and has ``to_dict()``.
        output: folder that was written; ``None`` where the report is of what would be done.
        as_json: one JSON object instead, and nothing else.
    """
    saved = "" if output is None else f"\nSaved in {output}"
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else f"{report}{saved}")
