# SPDX-License-Identifier: MIT
"""Reads a file of texts, for verbs that take one."""

from __future__ import annotations

import json
from pathlib import Path

from fastformers.errors import FormatError
from fastformers.files.text_lines import text_lines

__all__ = ["read_texts"]


def read_texts(path: Path) -> list[str]:
    """Reads one text a line (blank lines skipped), or the ``"text"`` of each line of a .jsonl file.

    Raises:
        FormatError: not UTF-8 text, or a line of a .jsonl file without a text.
    """
    lines = text_lines(path)
    if path.suffix != ".jsonl":
        return lines
    return [_text_of_json_line(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _text_of_json_line(line: str, place: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{place}: not JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise FormatError(f'{place}: expected an object with a string "text", like {{"text": "Hello."}}')
    text: str = value["text"]
    return text
