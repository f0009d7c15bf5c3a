# SPDX-License-Identifier: MIT
"""Rows of data files that nobody vouches for, each with its place, so that every error names file and line.

Read line by line: the largest official file (ReCoRD's training set) has 136 MB. JSON is held to the rules of
``files.strict_json``. Tab-separated files are GLUE's: no quoting, one line a row, a quotation mark is text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastformers.errors import FormatError
from fastformers.files.fields import short
from fastformers.files.strict_json import parse_json

__all__ = ["Row", "json_rows", "line_rows", "quoted_rows", "tab_rows"]

_MOST_LINE_BYTES = 16 << 20
#: What spreadsheets put between columns where the comma is for decimals, or when told to.
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Row:
    """The fields of one row.

    Attributes:
        values: field name to value.
        place: file and line for messages, e.g. ``"train.jsonl line 3"``.
    """

    values: Mapping[str, Any]
    place: str

    def error(self, problem: str) -> FormatError:
        """Returns the error to raise for this row."""
        return FormatError(f"{self.place}: {problem}")

    def field(self, key: str, kind: type[_T]) -> _T:
        """Returns a field that must be there and of a type; True and False are no numbers.

        Raises:
            FormatError: absent or of another type.
        """
        if key not in self.values:
            known = ", ".join(repr(name) for name in self.values)
            raise self.error(f"has no field {key!r}; its fields: {known}")
        value = self.values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"{key!r} is {short(value)}, must be of type {kind.__name__}")
        return value

    def text(self, key: str, purpose: str = "a model needs a text to read") -> str:
        """Returns a text that holds more than white space; ``purpose`` says what an empty one lacks.

        Raises:
            FormatError: absent, no text, or empty.
        """
        value = self.field(key, str)
        if not value.strip():
            raise self.error(f"{key!r} is empty: {purpose}")
        return value

    def number(self, key: str = "idx") -> int:
        """Returns a whole number, which may be written as a text of digits.

        Raises:
            FormatError: absent or something else.
        """
        value = self.values.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
            return int(value)
        return self.field(key, int)

    def objects(self, key: str) -> list[Row]:
        """Returns a list of objects as rows of their own, with their number as part of the place.

        Raises:
            FormatError: absent, no list, or something in it is no object.
        """
        items = self.field(key, list)
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{number}] is {short(item)}, must be an object")
        return [Row(item, f"{self.place}, {key}[{number}]") for number, item in enumerate(items)]

    def object(self, key: str) -> Row:
        """Returns an object as a row of its own.

        Raises:
            FormatError: absent or no object.
        """
        return Row(self.field(key, dict), f"{self.place}, {key}")


def line_rows(path: Path, column: str) -> Iterator[Row]:
    """Yields the lines of a file as rows of one field, without white space around them; blank lines are passed over.

    Args:
        path: the file, or a pipe or device such as ``/dev/stdin``.
        column: name of the field.

    Raises:
        FormatError: the file cannot be read, or is not UTF-8.
    """
    for number, line in _lines(path, streams=True):
        place = f"{path.name} line {number}"
        text = _decoded(line, place).strip()
        if text:
            yield Row({column: text}, place)


def json_rows(path: Path) -> Iterator[Row]:
    """Yields the objects of a file with one JSON object a line; blank lines are passed over.

    Raises:
        FormatError: the file cannot be read, or a line is not a JSON object.
    """
    for number, line in _lines(path):
        if line.strip():
            place = f"{path.name} line {number}"
            yield Row(parse_json(line, place, _MOST_LINE_BYTES), place)


def tab_rows(
    path: Path, columns: Sequence[str] | None, skip_broken: list[str] | None = None
) -> Iterator[Row]:
    """Yields the rows of a tab-separated file without quoting.

    Args:
        path: the file.
        columns: names of the columns of a file without a header; ``None`` takes them from the first line.
        skip_broken: places of rows with another number of columns, or with an empty one, are added here and the rows
            left out; ``None`` makes the former an error and leaves the latter to the reader.

    Raises:
        FormatError: the file cannot be read, is not UTF-8, or a row has another number of columns.
    """
    for number, line in _lines(path):
        place = f"{path.name} line {number}"
        cells = _decoded(line, place).rstrip("\r\n").split("\t")
        if columns is None:
            columns = _header(cells, place)
        elif len(cells) == len(columns) and (skip_broken is None or "" not in cells):
            yield Row(dict(zip(columns, cells, strict=True)), place)
        elif skip_broken is None:
            raise FormatError(
                f"{place}: has {len(cells)} columns, must have {len(columns)}: {', '.join(columns)}"
            )
        else:
            skip_broken.append(place)


def quoted_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a comma-separated file with a header, quoted as spreadsheets do.

    Rows of empty cells are passed over like blank lines: spreadsheets write what was once used of a sheet.

    Raises:
        FormatError: the file cannot be read, is not UTF-8, is not such a file, or a row has another number of columns.
    """
    lines = (_decoded(line, f"{path.name} line {number}") for number, line in _lines(path))
    reader = csv.reader(lines, strict=True)
    columns: list[str] | None = None
    begun = (
        1  # line that the row begins at: of a quotation mark that nothing closes, the last line says nothing
    )
    try:
        for cells in reader:
            place = f"{path.name} line {reader.line_num}"
            begun = reader.line_num + 1
            if columns is None:
                columns = _comma_separated(_header(cells, place), place)
            elif len(cells) != 1 and not any(cell.strip() for cell in cells):  # "" alone is a text left out
                continue
            elif len(cells) != len(columns):
                raise FormatError(f"{place}: has {len(cells)} columns, the header has {len(columns)}")
            else:
                yield Row(dict(zip(columns, cells, strict=True)), place)
    except csv.Error as error:
        raise FormatError(
            f"{path.name} line {begun}: the row that begins here: {_in_words(error)}"
        ) from error


def _in_words(error: csv.Error) -> str:
    """What is wrong with a row; what Python says to programmers does not help who wrote the file."""
    said = str(error)
    if "new-line character" in said:  # as old spreadsheets of Macs end lines
        return "a carriage return without a line feed: quote texts of several lines, and save the file as CSV UTF-8"
    return f"{said}; texts as long as that are taken from .jsonl" if "field limit" in said else said


def _header(cells: list[str], place: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    named = [column for column in columns if column]  # nothing reads a column without a name
    if len(set(named)) != len(named):
        raise FormatError(f"{place}: a column name occurs twice: {', '.join(named)}")
    return columns


def _comma_separated(columns: list[str], place: str) -> list[str]:
    """Refuses the header of a file with other separators, of which every later message would be odd."""
    others = [name for sign, name in _OTHER_SEPARATORS.items() if len(columns) == 1 and sign in columns[0]]
    if others:
        raise FormatError(
            f"{place}: the columns {short(columns[0])} are separated by {others[0]}: save the file with commas"
        )
    return columns


def _lines(path: Path, *, streams: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yields numbered lines, ended by line feeds alone: texts may hold other characters that end lines."""
    stream = streams and path.exists() and not path.is_dir()
    if not stream and not path.is_file():
        raise FormatError(f"{path} is missing or not a plain file")
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MOST_LINE_BYTES + 1):
                number += 1
                if len(line) > _MOST_LINE_BYTES:
                    raise FormatError(f"{path.name} line {number}: is longer than {_MOST_LINE_BYTES} bytes")
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error


def _decoded(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{place}: is not UTF-8: {error}; save the file as UTF-8 (Excel: CSV UTF-8)"
        ) from error
