# SPDX-License-Identifier: MIT
"""Reads a file of texts, of pairs of texts, or of texts with marked spans, for verbs that take one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fastformers.errors import ConfigError
from fastformers.files.rows import Row
from fastformers.files.text_rows import text_rows
from fastformers.span_text import marked_text

if TYPE_CHECKING:
    from fastformers.recipes.compile_folder import Text as PlainText
    from fastformers.tokenization import Text

__all__ = ["read_marked_texts", "read_texts", "text_file_option"]


def text_file_option(explanation: str) -> Any:
    """The option of a verb for a file of texts, which says in its own words what the texts are for."""
    return typer.Option(
        dir_okay=False,
        callback=_existing,
        metavar="FILE",
        help=f'{explanation}: one a line (- for standard input), or .csv or .jsonl with "text" (and "text_pair").',
    )


def _existing(path: Path | None) -> Path | None:
    """Checked here, as typer's ``exists`` looks for a file named "-" even where ``allow_dash`` is given."""
    if path == Path("-"):
        return Path("/dev/stdin")
    if path is not None and not path.exists():
        raise typer.BadParameter(f"File '{path}' does not exist.")
    return path


def read_texts(path: Path) -> list[PlainText]:
    """Reads the texts and pairs of a file; see :func:`fastformers.files.text_rows.text_rows`.

    Raises:
        FormatError: the file is malformed, or a row has no text; names the line.
    """
    return [_text(row) for row in text_rows(path)]


def read_marked_texts(path: Path) -> list[Text]:
    """Reads the same, at least one; a row with ``spans``, and of a pair ``span_texts``, is a text with marked spans.

    Raises:
        FormatError: as :func:`read_texts`, or spans do not fit their text.
        ConfigError: the file holds no text.
    """
    texts = [_text(row) if row.values.get("spans") is None else marked_text(row) for row in text_rows(path)]
    if not texts:
        raise ConfigError(f"{path} holds no text: write one a line")
    return texts


def _text(row: Row) -> PlainText:
    text, pair = row.values["text"], row.values.get("text_pair")
    return text if pair is None else (text, pair)
