# SPDX-License-Identifier: MIT
"""A missing optional dependency is an error that names the extra to install."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fastformers._optional import require
from fastformers.errors import FastformersError, MissingExtraError


def test_present_module_is_returned() -> None:
    assert require("json", "torch") is json


def test_missing_module_names_the_extra_and_what_needs_it() -> None:
    with pytest.raises(
        MissingExtraError, match=r"quantize_ needs no_such_module.*fastformers-cpu\[torch\]"
    ) as raised:
        require("no_such_module.part", "torch", "quantize_")
    assert isinstance(raised.value, FastformersError)
    assert isinstance(raised.value, ImportError)
    assert raised.value.name == "no_such_module"


def test_hidden_module_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"\[onnx\]"):
        require("onnx", "onnx")


def test_a_broken_package_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import a_module_that_broken_package_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_broken_package_needs") as raised:
        require("broken_package", "torch")
    assert not isinstance(raised.value, MissingExtraError)
