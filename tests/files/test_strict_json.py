# SPDX-License-Identifier: MIT
"""JSON that is not exactly JSON, or larger or deeper than agreed, is refused; what is written can be read."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from fastformers.errors import ConfigError, FormatError
from fastformers.files.strict_json import MOST_JSON_BYTES, json_bytes, parse_json, read_json


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"0" + b"}" * levels


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": -1e999}', "out of range"),
        (b'{"a": ' + b"9" * 41 + b"}", "41 digits"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": {"b": 1, "b": 1}}', "a key occurs twice"),
        ('{"a": 1}'.encode("utf-16"), "damaged"),
        (b'\xef\xbb\xbf{"a": 1}', "damaged"),
        (b'{"a": 1} {', "damaged"),
        (b'{"a": ["\\ud83d"]}', "surrogates not allowed"),
        (b"3", "holds a int, must hold an object"),
        (nested(17), "nested deeper than 16"),
        (nested(400), "nested deeper than 16"),
        (nested(900), "nested deeper than 16|recursion"),
        (nested(100_000), "recursion"),
        (b" " * (MOST_JSON_BYTES + 1), "larger than"),
    ],
)
def test_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_json(raw, "x.json")


def test_is_accepted_up_to_the_limits() -> None:
    assert parse_json(nested(16), "x.json")
    assert parse_json(b'{"a": [1, -2.5e3, "\\u00e9", null, true]}', "x.json") == {
        "a": [1, -2500.0, "é", None, True]
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}])
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    with pytest.raises(ConfigError, match="does not fit into JSON"):
        json_bytes({"a": value})


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_bytes(b"{}")
    assert read_json(good) == {}
    (tmp_path / "link.json").symlink_to(good)
    with pytest.raises(FormatError, match="is a symbolic link"):
        read_json(tmp_path / "link.json")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FormatError, match="not a plain file"):
        read_json(tmp_path / "pipe.json")
    os.link(good, tmp_path / "hard.json")
    with pytest.raises(FormatError, match="hard link"):
        read_json(good)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_json(b'{"a": "\\ud83d\\ude00"}', "a.json") == {"a": "\U0001f600"}
