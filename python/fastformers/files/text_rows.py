# SPDX-License-Identifier: MIT
"""Files of texts, or of pairs, as rows: .csv and .jsonl with the columns text and text_pair, or a text a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fastformers.errors import FormatError
from fastformers.files.rows import Row, json_rows, line_rows, quoted_rows

__all__ = ["TABLES", "table_reader", "text_rows", "well_named"]

#: Readers of files with columns, by suffix.
TABLES = {".csv": quoted_rows, ".jsonl": json_rows}

_COLUMNS = ("text", "text_pair")
#: Tables that nothing here reads: as lines they would be texts, with their labels and their quotation marks.
_UNREAD = (".tsv", ".json", ".ndjson")


def table_reader(path: Path) -> Callable[[Path], Iterator[Row]] | None:
    """Returns what reads a file by its columns, ``None`` for a file of lines; Windows may name a table ``A.CSV``.

    Raises:
        FormatError: the suffix is that of a table of another kind.
    """
    suffix = path.suffix.lower()
    if suffix in _UNREAD:
        raise FormatError(
            f"{path} would be read as one text a line, whatever its columns: save it as .csv with a header, or as "
            ".jsonl, one object a line; or name it .txt if each line is a text"
        )
    return TABLES.get(suffix)


def text_rows(path: Path) -> Iterator[Row]:
    """Yields rows with the field ``text`` and, where it is a pair, ``text_pair``; both hold more than white space.

    Args:
        path: ``.csv`` with a header, ``.jsonl``, or a file of one text a line, without white space around it. Blank
            lines are passed over.

    Raises:
        FormatError: the file cannot be read or is malformed, a row has no text, or a column is written almost as
            ``text`` or ``text_pair``, and names the line; or it is a table of another kind.
    """
    reader = table_reader(path)
    if reader is None:
        yield from line_rows(path, "text")
        return
    for row in well_named(reader(path), _COLUMNS):
        row.text("text")
        if row.values.get("text_pair") is not None:
            row.text("text_pair", "leave the column out where there is one text")
        yield row


def _letters(name: str) -> str:
    """A name without what is between its words: textPair and text.pair are meant as text_pair."""
    return "".join(filter(str.isalnum, name)).casefold()


def well_named(rows: Iterator[Row], columns: Sequence[str]) -> Iterator[Row]:
    """Refuses a column that is written almost as one of ours: the row would be read without it, and nobody told.

    Args:
        rows: of one file.
        columns: names that are read.

    Raises:
        FormatError: names line, column, and what it should be.
    """
    ours = {_letters(column): column for column in columns}
    checked: set[frozenset[str]] = set()
    for row in rows:
        names = frozenset(row.values)
        if names not in checked:
            checked.add(names)
            for name in names:
                meant = ours.get(_letters(name))
                if meant is not None and meant not in names:
                    raise row.error(f"has the field {name!r}: write it as {meant!r}")
        yield row
