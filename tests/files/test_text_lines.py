# SPDX-License-Identifier: MIT
"""Lines of text files: numbered as an editor does, ended by line feeds alone, named where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastformers.errors import FormatError
from fastformers.files.text_lines import numbered_lines


def written(folder: Path, raw: bytes) -> Path:
    path = folder / "texts.txt"
    path.write_bytes(raw)
    return path


def test_blank_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfone\r\n\n \t\nfour")
    assert list(numbered_lines(path)) == [(1, "one"), (4, "four")]


def test_separators_inside_a_line_do_not_end_it(tmp_path: Path) -> None:
    line = "a\u2028b\x85c\x0bd"
    assert list(numbered_lines(written(tmp_path, f"{line}\n".encode()))) == [(1, line)]


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError, match=r"texts\.txt, line 3: is not UTF-8 text: .*; save the file as UTF-8"
    ):
        list(numbered_lines(written(tmp_path, b"one\n\ncaf\xe9\n")))
