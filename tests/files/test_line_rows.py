# SPDX-License-Identifier: MIT
"""Lines of text files as rows: numbered as an editor does, ended by line feeds alone, named where they are damaged."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fastformers.errors import FormatError
from fastformers.files.rows import line_rows


def written(folder: Path, raw: bytes) -> Path:
    path = folder / "texts.txt"
    path.write_bytes(raw)
    return path


def lines(path: Path) -> list[tuple[str, str]]:
    return [(row.place, row.values["text"]) for row in line_rows(path, "text")]


def test_blank_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfone\r\n\n \t\n four")
    assert lines(path) == [("texts.txt line 1", "one"), ("texts.txt line 4", "four")]


def test_separators_inside_a_line_do_not_end_it(tmp_path: Path) -> None:
    line = "a\u2028b\x85c\x0bd"
    assert lines(written(tmp_path, f"{line}\n".encode())) == [("texts.txt line 1", line)]


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"texts\.txt line 3: is not UTF-8: .*; save the file as UTF-8"):
        lines(written(tmp_path, b"one\n\ncaf\xe9\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"texts\.txt is missing or not a plain file"):
        lines(tmp_path / "texts.txt")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"one\ntwo\n",), daemon=True)
    writer.start()
    assert lines(pipe) == [("pipe line 1", "one"), ("pipe line 2", "two")]
    writer.join()


def test_a_device_is_read() -> None:
    assert lines(Path(os.devnull)) == []
