# SPDX-License-Identifier: MIT
"""Rows as a hub gives them become the same examples as the official files; the hub here is a table in memory."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastformers.errors import ConfigError, FormatError, MissingExtraError
from fastformers.recipes.recipe_file import parse_recipe
from fastformers.tasks import TASK_NAMES, Example, custom_task, get_task, load_examples, load_hub_examples
from fastformers.tasks.hub import _SOURCES

SPANS = {"start": [0, 8], "end": [3, 11], "text": ["Ann", "Bob"]}
ROWS: dict[str, tuple[dict[str, Any], list[Example]]] = {
    "boolq": (
        {"question": "is it", "passage": "It is.", "idx": 2, "label": 1},
        [Example("2", "It is.", "is it", 0)],
    ),
    "cb": ({"premise": "A.", "hypothesis": "B.", "idx": 0, "label": 1}, [Example("0", "A.", "B.", 1)]),
    "copa": (
        {"premise": "A.", "choice1": "B.", "choice2": "C.", "question": "effect", "idx": 0, "label": 1},
        [Example("0", "A so B.", "A so C.", 1)],
    ),
    "copa-choices": (
        {"premise": "A.", "choice1": "B.", "choice2": "C.", "question": "effect", "idx": 0, "label": 0},
        [
            Example(f"0-{index}", "A so", text, label, group="0", facts={"row": 0, "choice": index})
            for index, (text, label) in enumerate([("B.", 1), ("C.", 0)])
        ],
    ),
    "multirc": (
        {
            "paragraph": "Ann ate.",
            "question": "Who?",
            "answer": "Ann",
            "idx": {"paragraph": 7, "question": 3, "answer": 11},
            "label": 1,
        },
        [
            Example(
                "7-3-11",
                "Ann ate. Who?",
                "Ann",
                1,
                group="7-3",
                keep_from=9,
                facts={"passage": 7, "question": 3, "answer": 11},
            )
        ],
    ),
    "record": (
        {
            "passage": "Ann met Bob.",
            "query": "@placeholder left",
            "entities": ["Ann", "Bob"],
            "entity_spans": SPANS,
            "answers": ["Bob"],
            "idx": {"passage": 5, "query": 9},
        },
        [
            Example(
                f"5-9-{number}",
                "Ann met Bob.",
                f"{name} left",
                number,
                group="5-9",
                answer=name,
                facts={"query": 9, "answers": ("Bob",)},
            )
            for number, name in enumerate(("Ann", "Bob"))
        ],
    ),
    "wsc": (
        {
            "text": "Ann said she left.",
            "span1_index": 0,
            "span1_text": "Ann",
            "span2_index": 2,
            "span2_text": "she",
            "idx": 1,
            "label": 0,
        },
        [Example("1", "Ann said she left.", None, 1, ((0, 3), (9, 12)))],
    ),
    "sst2": ({"sentence": "fine", "idx": 8, "label": 1}, [Example("1", "fine", None, 1)]),
    "mrpc": ({"sentence1": "A.", "sentence2": "B.", "idx": 8, "label": 1}, [Example("1", "A.", "B.", 1)]),
    "stsb": ({"sentence1": "A.", "sentence2": "B.", "idx": 8, "label": 3.5}, [Example("1", "A.", "B.", 3.5)]),
    "qqp": ({"question1": "A?", "question2": "B?", "idx": 8, "label": 0}, [Example("1", "A?", "B?", 0)]),
    "mnli": ({"premise": "A.", "hypothesis": "B.", "idx": 8, "label": 2}, [Example("1", "A.", "B.", 0)]),
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A ``datasets`` whose ``load_dataset`` gives ``rows``, or raises ``error``, and notes what was asked for."""
    state = SimpleNamespace(rows=[], asked=[], error=None)

    def load_dataset(path: str, config: str, *, split: str) -> list[dict[str, Any]]:
        state.asked.append((path, config, split))
        if state.error is not None:
            raise state.error
        rows: list[dict[str, Any]] = state.rows
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))  # type: ignore[misc]
    return state


@pytest.mark.parametrize("name", ROWS)
def test_rows_become_the_official_files_examples(name: str, hub: SimpleNamespace) -> None:
    row, expected = ROWS[name]
    hub.rows = [row]
    assert load_hub_examples(get_task(name), "train") == expected
    assert hub.asked[0][2] == "train"


def test_every_official_task_is_known() -> None:
    assert set(_SOURCES) == set(TASK_NAMES)


def test_a_hidden_label_is_unknown_in_a_test_set(hub: SimpleNamespace) -> None:
    hub.rows = [{"sentence": "fine", "idx": 8, "label": -1}]
    assert load_hub_examples(get_task("sst2"), "test") == [Example("8", "fine")]
    hub.rows = [{"premise": "A.", "hypothesis": "B.", "idx": 3, "label": -1}]
    assert load_hub_examples(get_task("rte"), "test") == [Example("3", "A.", "B.")]


def test_mnli_asks_for_the_mismatched_set_by_name(hub: SimpleNamespace) -> None:
    hub.rows = [ROWS["mnli"][0]]
    load_hub_examples(get_task("mnli"), "val_mismatched")
    assert hub.asked == [("nyu-mll/glue", "mnli", "validation_mismatched")]


def test_the_empty_questions_of_qqp_are_left_out_with_a_warning(
    hub: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    row = ROWS["qqp"][0]
    hub.rows = [row, {**row, "question2": ""}]
    assert load_hub_examples(get_task("qqp"), "train") == ROWS["qqp"][1]
    assert "left out 1 rows with an empty text, the first at row 2" in caplog.text


def test_a_row_that_changed_is_named(hub: SimpleNamespace) -> None:
    hub.rows = [ROWS["boolq"][0], {**ROWS["boolq"][0], "label": 7}]
    with pytest.raises(
        FormatError, match="aps/super_glue boolq train row 2: the label 7 is none of the hub's"
    ):
        load_hub_examples(get_task("boolq"), "train")


def test_a_hub_out_of_reach_says_what_to_do(hub: SimpleNamespace) -> None:
    hub.error = ConnectionError("no route")
    with pytest.raises(ConfigError, match=r"cannot be loaded: no route; download .* give their folder"):
        load_hub_examples(get_task("rte"), "val")


def test_an_unknown_split_is_named(hub: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match="the hub has no 'train' set of axb"):
        load_hub_examples(get_task("axb"), "train")


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"reading tasks from a hub needs datasets.*\[hub\]"):
        load_hub_examples(get_task("rte"), "val")


def test_the_word_hub_stands_for_a_folder_of_data(
    hub: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.rows = [ROWS["boolq"][0]]
    assert load_examples(get_task("boolq"), "hub", "train") == ROWS["boolq"][1]
    (tmp_path / "hub").mkdir()
    with pytest.raises(FormatError, match=r"hub holds neither train\.jsonl"):
        load_examples(get_task("boolq"), "hub", "train")


def test_the_hub_has_no_files_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="the hub has the official tasks: name one of them"):
        custom_task("hub")


def test_a_recipe_names_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stage = {"name": "small", "kind": "prune", "model": "large", "heads": 1, "scores": "magnitude"}
    content = {"recipe": {"task": "boolq", "data": "hub"}, "models": {"large": "large"}, "stage": [stage]}
    recipe = parse_recipe(content, tmp_path / "recipes")
    assert recipe.data == Path("hub")
    (tmp_path / "recipes" / "hub").mkdir(parents=True)
    assert parse_recipe(content, tmp_path / "recipes").data == tmp_path / "recipes" / "hub"
