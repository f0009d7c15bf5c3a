# SPDX-License-Identifier: MIT
"""Further texts of bench/accuracy: of training and test sets, never of validation, each once, without labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.accuracy.further import write_further
from fastformers.errors import FormatError

TWO_SENTENCES = "The cat sat on the mat all day. The dog ran into the bank again."


def write(folder: Path, name: str, *pairs: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        json.dumps({"premise": one, "hypothesis": two, "label": "entailment", "idx": 0}) for one, two in pairs
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_pairs_of_test_sets_and_parts_of_premises(tmp_path: Path) -> None:
    write(tmp_path / "RTE", "train", (TWO_SENTENCES, "A cat sat."), ("One sentence only is here.", "It is."))
    write(tmp_path / "RTE", "test", ("Rain fell on Monday in the north.", "It rained."))
    write(tmp_path / "RTE", "val", ("Nobody may read this.", "No."))
    write(tmp_path / "CB", "train", ("He said that it rained.", "It rained."))
    write(tmp_path / "CB", "test", ("Rain fell on Monday in the north.", "It rained."))  # as in RTE: once
    path = tmp_path / "further.jsonl"
    assert write_further("rte", tmp_path, path) == 3
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {frozenset(row) for row in rows} == {frozenset(("text", "text_pair"))}
    assert [row["text_pair"] for row in rows] == ["It rained.", "It rained.", "A cat sat."]
    assert rows[2]["text"] in TWO_SENTENCES.replace("day. ", "day.|").split("|")
    again = tmp_path / "again.jsonl"
    write_further("rte", tmp_path, again)
    assert again.read_bytes() == path.read_bytes()  # a recipe's key names it


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="RTE"):
        write_further("rte", tmp_path, tmp_path / "further.jsonl")
