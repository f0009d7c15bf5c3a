# SPDX-License-Identifier: MIT
"""Further files of an artefact never replace its own and never leave its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastformers.errors import ConfigError
from fastformers.files.extra_files import write_extra_files


def test_files_hold_what_was_given(tmp_path: Path) -> None:
    write_extra_files(tmp_path, {"task.json": {"a": [1]}, "log.json": {}})
    assert json.loads((tmp_path / "task.json").read_text()) == {"a": [1]}
    assert json.loads((tmp_path / "log.json").read_text()) == {}


@pytest.mark.parametrize(
    "name", ["../task.json", "a/b.json", "task.txt", "", ".json/", "fastformers.json", "config.json"]
)
def test_names_that_are_taken_or_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="extra file"):
        write_extra_files(tmp_path, {name: {"a": 1}})
    assert (tmp_path / "config.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        write_extra_files(tmp_path, {"a.json": {"loss": float("nan")}})
