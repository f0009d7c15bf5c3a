# SPDX-License-Identifier: MIT
"""Further texts of bench/accuracy: of training and test sets, never of validation, each once, without labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.accuracy.further import write_further
from fastformers.errors import FormatError
from fastformers.recipes.distilling_data import read_unlabelled
from fastformers.tasks import get_task

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


def wic_row(word: str, *sentences: str) -> dict[str, object]:
    marks = [sentence.lower().index(word.lower()) for sentence in sentences]
    fields = {"word": word, "label": True, "idx": 0}
    for number, (sentence, start) in enumerate(zip(sentences, marks, strict=True), start=1):
        fields |= {f"sentence{number}": sentence, f"start{number}": start, f"end{number}": start + len(word)}
    return fields


def test_wics_pairs_are_of_one_word_and_in_no_set_but_the_test_set(tmp_path: Path) -> None:
    (tmp_path / "WiC").mkdir()
    sets = {
        "train": [wic_row("bank", "A bank.", "The bank."), wic_row("sun", "A sun.", "The sun.")],
        "test": [wic_row("Bank", "Bank notes.", "By the bank.")],
        "val": [
            wic_row("bank", "The bank.", "By the bank."),
            wic_row("bank", "Nobody may read this bank.", "A bank."),
        ],
    }
    for name, rows in sets.items():
        (tmp_path / "WiC" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    file, task = tmp_path / "further.jsonl", get_task("wic")
    assert write_further("wic", tmp_path, file) == 4
    test, *found = read_unlabelled(file, task, tmp_path, pairs=True)
    assert (test.text, test.text_pair, test.spans) == ("Bank notes.", "By the bank.", ((0, 4), (7, 11)))
    assert {frozenset((each.text, each.text_pair)) for each in found} == {
        frozenset(("A bank.", "Bank notes.")),
        frozenset(("A bank.", "By the bank.")),
        frozenset(("The bank.", "Bank notes.")),
    }
    for each in found:
        texts = (each.text, each.text_pair or "")
        marked = [text[start:end].lower() for text, (start, end) in zip(texts, each.spans, strict=True)]
        assert marked == ["bank", "bank"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for task, folder in (("rte", "RTE"), ("wic", "WiC")):
        with pytest.raises(FormatError, match=folder):
            write_further(task, tmp_path, tmp_path / "further.jsonl")
