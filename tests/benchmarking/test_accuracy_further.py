# SPDX-License-Identifier: MIT
"""Further pairs of bench/accuracy: each once, no label and no validation text among what is read."""

from __future__ import annotations

import json
from pathlib import Path

from bench.accuracy.further import write_further
from fastformers.recipes.distilling_data import read_unlabelled
from fastformers.tasks import get_task, load_examples


def save_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def copa_rows(start: int, **fields: object) -> list[dict[str, object]]:
    return [
        {
            "premise": f"Premise {number}.",
            "choice1": f"first {number}",
            "choice2": f"second {number}",
            "question": ("cause", "effect")[number % 2],
            "idx": number,
            **fields,
        }
        for number in range(start, start + 4)
    ]


def test_copas_pairs_are_in_the_form_of_the_task_and_not_those_it_learns_from_anyway(tmp_path: Path) -> None:
    save_rows(tmp_path / "COPA" / "train.jsonl", copa_rows(0, label=1))
    save_rows(tmp_path / "COPA" / "test.jsonl", copa_rows(10))
    file = tmp_path / "further.jsonl"
    count = write_further("copa-choices", tmp_path, file)
    task = get_task("copa-choices")
    found = [(each.text, each.text_pair) for each in read_unlabelled(file, task, tmp_path, pairs=True)]
    assert len(found) == len(set(found)) == count
    tests = {(each.text, each.text_pair) for each in load_examples(task, tmp_path, "test")}
    assert tests <= set(found)
    assert ("Premise 0 so", "first 0") in found
    assert ("Premise 11 because", "second 11") in found
    assert any(premise[8:].split()[0] not in str(choice) for premise, choice in found)


def test_rtes_pairs_come_from_two_tasks_and_parts_of_premises(tmp_path: Path) -> None:
    for task, number in (("RTE", 0), ("CB", 10)):
        for part in ("train", "test"):
            premise = f"It rained all day in {task} {part}. The sun shone on the second day."
            row = {
                "premise": premise,
                "hypothesis": "It rained.",
                "idx": number,
                "label": "no label of these",
            }
            save_rows(tmp_path / task / f"{part}.jsonl", [row])
    file = tmp_path / "further.jsonl"
    assert write_further("rte", tmp_path, file) == 5
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert all(set(row) == {"text", "text_pair"} for row in rows)
    wholes = [row["text"] for row in rows if "sun" in row["text"] and "rained" in row["text"]]
    assert len(wholes) == 3  # RTE's test set, both of CB; of RTE's own pairs parts alone
