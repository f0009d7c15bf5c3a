# SPDX-License-Identifier: MIT
"""What each task's official rows become: texts, label order, groups and spans, against rows written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastformers.errors import ConfigError, FormatError
from fastformers.tasks import TASK_NAMES, Example, get_task, load_examples

Write = Callable[[str, Any], Path]

PAIR = {"premise": "It rained.", "hypothesis": "It was wet.", "idx": 4}
MULTIRC = {
    "idx": 7,
    "passage": {
        "text": "Ann ate. Bob slept.",
        "questions": [
            {
                "idx": 3,
                "question": "Who ate?",
                "answers": [
                    {"text": "Ann", "idx": 11, "label": 1},
                    {"text": "", "idx": 12, "label": 0},
                ],
            }
        ],
    },
}
RECORD = {
    "idx": 5,
    "passage": {
        "text": "Ann met Bob.\n@highlight\nAnn left",
        "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 10}, {"start": 24, "end": 26}],
    },
    "qas": [
        {"idx": 9, "query": "@placeholder went away", "answers": [{"start": 0, "end": 2, "text": "Ann"}]}
    ],
}
WIC = {
    "word": "bank",
    "sentence1": "The bank.",
    "sentence2": "A river bank",
    "start1": 4,
    "end1": 8,
    "start2": 8,
    "end2": 12,
}
WSC = {
    "text": "Mark told  Pete that he lied.",
    "target": {"span1_index": 3, "span1_text": "Pete", "span2_index": 5, "span2_text": "he"},
}
COPA = {"premise": "I fell.", "choice1": "It hurt.", "choice2": "I flew.", "question": "effect", "idx": 0}


def only(name: str, file: str, row: Any, write: Write, split: str = "train") -> Example:
    (example,) = load_examples(get_task(name), write(file, [row]), split)
    return example


def test_boolq_reads_passage_then_question_and_true_comes_first(write: Write) -> None:
    row = {"question": "is it", "passage": "It is.", "idx": 2, "label": True}
    assert only("boolq", "BoolQ/train.jsonl", row, write) == Example("2", "It is.", "is it", 0)
    assert only("boolq", "BoolQ/train.jsonl", {**row, "label": False}, write).label == 1


def test_boolq_labels_may_be_quoted(write: Write) -> None:
    row = {"question": "is it", "passage": "It is.", "idx": 2, "label": "false"}
    assert only("boolq", "BoolQ/train.jsonl", row, write).label == 1


@pytest.mark.parametrize(("label", "index"), [("entailment", 0), ("contradiction", 1), ("neutral", 2)])
def test_cb_reads_premise_then_hypothesis(label: str, index: int, write: Write) -> None:
    found = only("cb", "CB/train.jsonl", {**PAIR, "label": label}, write)
    assert found == Example("4", "It rained.", "It was wet.", index)


@pytest.mark.parametrize(("question", "connective"), [("cause", "because"), ("effect", "so")])
def test_copa_is_one_pair_of_sentences(question: str, connective: str, write: Write) -> None:
    row = {**COPA, "question": question, "label": 1}
    found = only("copa", "COPA/train.jsonl", row, write)
    assert found == Example("0", f"I fell {connective} It hurt.", f"I fell {connective} I flew.", 1)


@pytest.mark.parametrize(("question", "connective"), [("cause", "because"), ("effect", "so")])
def test_copa_by_choices_is_a_pair_for_each_choice(question: str, connective: str, write: Write) -> None:
    row = {**COPA, "idx": 3, "question": question, "label": 1}
    found = load_examples(get_task("copa-choices"), write("COPA/train.jsonl", [row]), "train")
    assert found == [
        Example(
            f"3-{index}",
            f"I fell {connective}",
            choice,
            label,
            group="3",
            facts={"row": 3, "choice": index},
        )
        for index, (choice, label) in enumerate([("It hurt.", 0), ("I flew.", 1)])
    ]
    unlabelled = load_examples(get_task("copa-choices"), write("COPA/test.jsonl", [COPA]), "test")
    assert [example.label for example in unlabelled] == [None, None]


def test_multirc_gives_an_example_for_each_answer_with_the_question_behind_the_passage(write: Write) -> None:
    found = only("multirc", "MultiRC/train.jsonl", MULTIRC, write)  # the empty answer is left out
    assert found == Example(
        guid="7-3-11",
        text="Ann ate. Bob slept. Who ate?",
        text_pair="Ann",
        label=1,
        group="7-3",
        keep_from=20,
        facts={"passage": 7, "question": 3, "answer": 11},
    )
    assert found.text[found.keep_from :] == "Who ate?"


@pytest.mark.parametrize("split", ["val", "test"])
def test_multirc_reads_an_empty_answer_as_no_where_every_answer_counts(split: str, write: Write) -> None:
    folder = write(f"MultiRC/{split}.jsonl", [MULTIRC])
    assert [each.text_pair for each in load_examples(get_task("multirc"), folder, split)] == ["Ann", "no"]


def test_record_fills_each_entity_in_without_merging_equal_ones(write: Write) -> None:
    folder = write("ReCoRD/train.jsonl", [RECORD])
    examples = load_examples(get_task("record"), folder, "train")
    assert [(each.guid, each.answer, each.text_pair, each.label) for each in examples] == [
        ("5-9-0", "Ann", "Ann went away", 1),
        ("5-9-1", "Bob", "Bob went away", 0),
        ("5-9-2", "Ann", "Ann went away", 1),
    ]
    assert {each.group for each in examples} == {"5-9"}
    assert "@highlight" in examples[0].text
    assert examples[0].facts == {"query": 9, "answers": ("Ann",)}


def test_wic_marks_one_span_in_each_sentence(write: Write) -> None:
    found = only("wic", "WiC/train.jsonl", {**WIC, "idx": 1, "label": False}, write)
    assert found == Example("1", "The bank.", "A river bank", 1, ((4, 8), (8, 12)))


def test_wsc_counts_spans_in_words_between_single_blanks(write: Write) -> None:
    found = only("wsc", "WSC/train.jsonl", {**WSC, "idx": 1, "label": True}, write)
    assert found == Example("1", WSC["text"], None, 0, ((11, 15), (21, 23)))


@pytest.mark.parametrize(("name", "folder"), [("axb", "AX-b"), ("axg", "AX-g")])
def test_diagnostics_have_a_labelled_test_set_only(name: str, folder: str, write: Write) -> None:
    row = {**PAIR, "sentence1": "It rained.", "sentence2": "It was wet.", "label": "not_entailment"}
    found = only(name, f"{folder}/{folder}.jsonl", {**row, "idx": "4"}, write, "test")
    assert found == Example("4", "It rained.", "It was wet.", 1)
    assert get_task(name).labels == get_task("rte").labels
    assert get_task(name).trains_as == "rte"
    with pytest.raises(ConfigError, match=f"{name} has no split 'train'; it has: test"):
        load_examples(get_task(name), ".", "train")


@pytest.mark.parametrize(
    ("name", "folder", "row"),
    [
        ("boolq", "BoolQ", {"question": "is it", "passage": "It is.", "idx": 0}),
        ("copa", "COPA", COPA),
        ("rte", "RTE", PAIR),
        ("wic", "WiC", {**WIC, "idx": 0}),
        ("wsc", "WSC", {**WSC, "idx": 0}),
    ],
)
def test_official_test_sets_have_no_labels(name: str, folder: str, row: Any, write: Write) -> None:
    assert only(name, f"{folder}/test.jsonl", row, write, "test").label is None


GLUE_FILES: dict[str, tuple[str, str, Example]] = {
    "sst2": ("SST-2/train.tsv", 'sentence\tlabel\n"quoted \t1\n', Example("2", '"quoted ', None, 1)),
    "mrpc": (
        "MRPC/train.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t8\t9\tA b.\tA c.\n",
        Example("2", "A b.", "A c.", 1),
    ),
    "cola": ("CoLA/train.tsv", "gj04\t0\t*\tThem left.\n", Example("1", "Them left.", None, 0)),
    "qnli": (
        "QNLI/train.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tAnn.\tnot_entailment\n",
        Example("2", "Who?", "Ann.", 1),
    ),
    "rte-glue": (
        "RTE/train.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tIt is.\tIt was.\tentailment\n",
        Example("2", "It is.", "It was.", 0),
    ),
    "stsb": (
        "STS-B/train.tsv",
        "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tA b.\tA c.\t3.800\n",
        Example("2", "A b.", "A c.", 3.8),
    ),
    "qqp": (
        "QQP/train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n5\t1\t2\tA?\tB?\t0\n",
        Example("2", "A?", "B?", 0),
    ),
    "mnli": (
        "MNLI/train.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tA b.\tA c.\tneutral\tcontradiction\n",
        Example("2", "A b.", "A c.", 0),
    ),
}


@pytest.mark.parametrize("name", GLUE_FILES)
def test_glue_tables_are_read_without_quoting(name: str, write: Write) -> None:
    file, text, expected = GLUE_FILES[name]
    assert load_examples(get_task(name), write(file, text), "train") == [expected]


def test_glue_test_rows_are_named_by_the_official_index(write: Write) -> None:
    folder = write("CoLA/test.tsv", "index\tsentence\n41\tThem left.\n")
    assert load_examples(get_task("cola"), folder, "test") == [Example("41", "Them left.")]


def test_mnli_has_a_mismatched_set_too(write: Write) -> None:
    text = "index\tsentence1\tsentence2\tgold_label\n0\tA b.\tA c.\tneutral\n"
    folder = write("MNLI/dev_mismatched.tsv", text)
    assert load_examples(get_task("mnli"), folder, "val_mismatched") == [Example("2", "A b.", "A c.", 2)]


def test_broken_rows_of_qqp_are_left_out_with_a_warning(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    folder = write("QQP/train.tsv", f"{header}broken\tline\n5\t1\t2\tA?\tB?\t1\n6\t3\t4\tA?\t\t0\n")
    assert len(load_examples(get_task("qqp"), folder, "train")) == 1
    words = "left out 2 rows with a wrong number of columns or an empty one, the first at train.tsv line 2"
    assert words in caplog.text


def test_a_table_that_names_a_column_twice_is_refused(write: Write) -> None:
    folder = write("SST-2/train.tsv", "sentence\tlabel\tlabel\nfine\t1\t0\n")
    with pytest.raises(FormatError, match=r"train\.tsv line 1: a column name occurs twice"):
        load_examples(get_task("sst2"), folder, "train")


@pytest.mark.parametrize("name", [*TASK_NAMES, "SST-2", "sts-b", "AX-b", "MultiRC", "CoLA"])
def test_a_task_is_found_by_its_own_name_and_by_the_official_one(name: str) -> None:
    task = get_task(name)
    assert name.lower() in (task.name, task.files.folder.lower())


def test_the_folder_of_the_task_itself_is_accepted(write: Write) -> None:
    root = write("RTE/val.jsonl", [{**PAIR, "label": "entailment"}])
    assert load_examples(get_task("rte"), root / "RTE", "val") == load_examples(get_task("rte"), root, "val")


def test_all_eighteen_tasks_of_the_benchmarks_are_there_and_copa_by_choices() -> None:
    assert set(TASK_NAMES) == {
        *("boolq", "cb", "copa", "copa-choices", "multirc", "record", "rte", "wic", "wsc", "axb", "axg"),
        *("sst2", "mrpc", "cola", "qnli", "rte-glue", "stsb", "qqp", "mnli"),
    }


def test_an_unknown_task_names_close_ones() -> None:
    with pytest.raises(ConfigError, match="no task 'bolq'; did you mean boolq"):
        get_task("bolq")
    with pytest.raises(ConfigError, match="no task 'squad_xyz'; known: boolq, "):
        get_task("squad_xyz")
    with pytest.raises(ConfigError, match="leave the task out and give the folder alone"):
        get_task("custom")


@pytest.mark.parametrize(
    ("name", "metric"), [("boolq", "accuracy"), ("multirc", "mean(exact_match, f1_questions)")]
)
def test_the_main_metric_says_what_the_score_is(name: str, metric: str) -> None:
    assert get_task(name).main_metric == metric
