# SPDX-License-Identifier: MIT
"""Reads a file of texts, or of pairs of texts, for verbs that take one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastformers.errors import FormatError
from fastformers.files.strict_json import parse_json
from fastformers.files.text_lines import numbered_lines

if TYPE_CHECKING:
    from fastformers.recipes.compile_folder import Text

__all__ = ["read_texts"]


def read_texts(path: Path) -> list[Text]:
    """Reads one text a line (blank lines skipped), or the ``"text"`` of each line of a .jsonl file.

    A line's ``"text_pair"`` makes it a pair.

    Raises:
        FormatError: not UTF-8 text, or a line of a .jsonl file without a text.
    """
    lines = numbered_lines(path)
    if path.suffix != ".jsonl":
        return [line for _, line in lines]
    return [_text_of_json_line(line, f"{path}, line {number}") for number, line in lines]


def _text_of_json_line(line: str, place: str) -> Text:
    values = parse_json(line.encode("utf-8"), place)
    text, pair = values.get("text"), values.get("text_pair")
    if not isinstance(text, str):
        raise FormatError(f'{place}: expected an object with a string "text", like {{"text": "Hello."}}')
    if pair is not None and not isinstance(pair, str):
        raise FormatError(f'{place}: "text_pair" must be a string; leave it out where there is one text')
    return text if pair is None else (text, pair)
