# SPDX-License-Identifier: MIT
"""Writes a ladder's files: JSON, CSV, Markdown, pictures, and one page of HTML that holds all of it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fastformers.benchmarking.ladder.html import html_text
from fastformers.benchmarking.ladder.report import LadderReport, LadderRow
from fastformers.benchmarking.ladder.table import BESIDE, against_of, columns_of, notes_of
from fastformers.errors import MissingExtraError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.measuring import Spread

if TYPE_CHECKING:
    from fastformers.benchmarking.plots.ladder import LadderForm

__all__ = ["csv_text", "markdown_text", "write_outputs"]

_PICTURES = ("ladder.png", "ladder.svg")


def write_outputs(report: LadderReport, folder: Path) -> list[str]:
    """Writes all files; each appears in one step.

    Args:
        report: what was found.
        folder: exists.

    Returns:
        Lines for the user: where the files are, and what could not be made.
    """
    replace_file(folder / "ladder.json", json_bytes(report.to_dict()))
    replace_file(folder / "ladder.csv", csv_text(report).encode("utf-8"))
    replace_file(folder / "ladder.md", markdown_text(report).encode("utf-8"))
    pictures, notes = _draw(report.to_dict(), folder)
    replace_file(folder / "ladder.html", html_text(report, pictures).encode("utf-8"))
    return [*notes, f"Saved in {folder}: {', '.join(sorted(path.name for path in folder.glob('ladder.*')))}"]


def _draw(report: dict[str, Any], folder: Path) -> tuple[list[str], list[str]]:
    """Draws the files; returns SVG texts for the page, and what could not be drawn."""
    from fastformers.benchmarking.plots.ladder import draw_ladder

    try:
        for name in _PICTURES:
            draw_ladder(report, folder / name)
        return [_svg_of(report, form) for form in _forms(report)], []
    except MissingExtraError as error:
        return [], [f"no pictures: {error}"]


def _forms(report: dict[str, Any]) -> tuple[LadderForm, ...]:
    scored = [row for row in report["rows"] if row["score"] is not None]
    return ("points", "bars") if len(scored) > 1 else ("bars",)


def _svg_of(report: dict[str, Any], form: LadderForm) -> str:
    from fastformers.benchmarking.plots.ladder import draw_ladder

    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.svg"
        draw_ladder(report, path, form)
        return path.read_text(encoding="utf-8")


def csv_text(report: LadderReport) -> str:
    """Returns one line a row, comparisons last; of a spread its median, low and high quartile."""
    buffer = StringIO()
    plain = [_flat(row) for row in (*report.rows, *report.comparisons)]
    writer = csv.DictWriter(buffer, list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return buffer.getvalue()


def _flat(row: LadderRow) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name in row.__dataclass_fields__:
        value = getattr(row, name)
        if isinstance(value, Spread):
            flat.update({name: value.median, f"{name}_low": value.low, f"{name}_high": value.high})
        elif name == "total_interval":
            low, high = value or ("", "")
            flat.update(total_seconds_low=low, total_seconds_high=high)
        else:
            flat[name] = "" if value is None else value
    return flat


def markdown_text(report: LadderReport) -> str:
    """Returns the tables, what the rows do, and how it was measured."""
    lines = [f"# {report.title}", "", *_table(report.rows, report)]
    if report.comparisons:
        lines += ["", f"{BESIDE}:", "", *_table(report.comparisons, report)]
    lines += ["", *(f"- **{row.name}**: {row.meaning}." for row in (*report.rows, *report.comparisons))]
    lines += ["", *(f"{note}  " for note in (*against_of(report), *notes_of(report)))]
    return "\n".join(line.rstrip() if not line.endswith(".  ") else line for line in lines).rstrip() + "\n"


def _table(rows: Sequence[LadderRow], report: LadderReport) -> Iterator[str]:
    columns = columns_of((*report.rows, *report.comparisons))
    yield f"| {' | '.join(column.heading for column in columns)} |"
    yield f"| {' | '.join(':--' if column.left else '--:' for column in columns)} |"
    for row in rows:
        yield f"| {' | '.join(_escaped(column.cell(row)) for column in columns)} |"


def _escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("~", "\\~")
