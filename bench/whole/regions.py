# SPDX-License-Identifier: MIT
"""Regions of Markdown files that are written by a program: ``<!-- tables: begin NAME -->`` to its end, nothing else."""

from __future__ import annotations

from pathlib import Path

from bench.harness.markdown import write_between_markers

__all__ = ["begin_line", "end_line", "replace_region"]


def begin_line(name: str) -> str:
    """The line before a region."""
    return f"<!-- tables: begin {name} -->"


def end_line(name: str) -> str:
    """The line after it."""
    return f"<!-- tables: end {name} -->"


def replace_region(path: Path, name: str, text: str) -> None:
    """Replaces what stands between the two lines of a region.

    Raises:
        SystemExit: the file lacks one of the lines, has one twice, or has them in the wrong order.
    """
    write_between_markers(path, text, begin_line(name), end_line(name))
