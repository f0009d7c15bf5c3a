# SPDX-License-Identifier: MIT
"""How a verb that writes a folder ends: its report, as text or as JSON, and where the folder is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

__all__ = ["print_plan", "print_report"]


def print_report(report: Any, output: Path, *, as_json: bool) -> None:
    """Prints a report.

    Args:
        report: prints as text, and has ``to_dict()``.
        output: folder that was written.
        as_json: one JSON object instead, and nothing else.
    """
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else f"{report}\nSaved in {output}")


def print_plan(plan: Any, *, as_json: bool) -> None:
    """Prints what a verb would do.

    Args:
        plan: prints as text, and has ``to_dict()``.
        as_json: one JSON object instead, and nothing else.
    """
    typer.echo(json.dumps(plan.to_dict(), indent=2) if as_json else str(plan))
