# SPDX-License-Identifier: MIT
"""Reads a file of texts, for verbs that take one."""

from __future__ import annotations

from pathlib import Path

from fastformers.errors import FormatError
from fastformers.files.strict_json import parse_json
from fastformers.files.text_lines import numbered_lines

__all__ = ["read_texts"]


def read_texts(path: Path) -> list[str]:
    """Reads one text a line (blank lines skipped), or the ``"text"`` of each line of a .jsonl file.

    Raises:
        FormatError: not UTF-8 text, or a line of a .jsonl file without a text.
    """
    lines = numbered_lines(path)
    if path.suffix != ".jsonl":
        return [line for _, line in lines]
    return [_text_of_json_line(line, f"{path}, line {number}") for number, line in lines]


def _text_of_json_line(line: str, place: str) -> str:
    text = parse_json(line.encode("utf-8"), place).get("text")
    if not isinstance(text, str):
        raise FormatError(f'{place}: expected an object with a string "text", like {{"text": "Hello."}}')
    return text
