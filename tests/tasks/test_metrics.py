# SPDX-License-Identifier: MIT
"""Every metric against scikit-learn or a case computed by hand."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from fastformers.errors import ConfigError, MissingExtraError, NonFiniteError, ShapeError
from fastformers.tasks import Example, evaluate, get_task
from fastformers.tasks.custom import task_with_labels
from fastformers.tasks.metrics import answers_of

# Numbers that both sides compute from the same counts, in float64.
EXACT = pytest.approx


def labelled(labels: list[Any], **fields: Any) -> list[Example]:
    return [Example(str(index), "x", label=label, **fields) for index, label in enumerate(labels)]


def one_hot(choices: list[int], width: int = 2) -> np.ndarray[Any, Any]:
    return np.eye(width, dtype=np.float32)[choices]


TRUTH, CHOSEN = [0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("name", ["boolq", "copa", "rte", "wic", "sst2", "qnli", "rte-glue"])
def test_accuracy_is_the_share_of_right_answers(name: str) -> None:
    scores = evaluate(get_task(name), labelled(TRUTH), one_hot(CHOSEN))
    assert scores == {"accuracy": EXACT(4 / 6), "score": EXACT(400 / 6)}


def test_cb_scores_the_mean_of_accuracy_and_macro_f1() -> None:
    truth, chosen = [0, 1, 1, 2, 2, 2], [0, 1, 2, 2, 2, 0]
    scores = evaluate(get_task("cb"), labelled(truth), one_hot(chosen, 3))
    # F1: entailment 2/3, contradiction 2/3, neutral 4/6
    assert scores["accuracy"] == EXACT(4 / 6)
    assert scores["f1_macro"] == EXACT((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert scores["score"] == EXACT(100 * (4 / 6 + 2 / 3) / 2)


def test_cb_averages_over_the_classes_that_occur() -> None:
    """As scikit-learn and the published code: a class neither there nor predicted does not count as 0."""
    assert evaluate(get_task("cb"), labelled([0, 1]), one_hot([0, 1], 3))["f1_macro"] == 1.0


def test_wsc_scores_accuracy_and_names_which_class_an_f1_is_of() -> None:
    scores = evaluate(get_task("wsc"), labelled(TRUTH), one_hot(CHOSEN))
    assert scores["f1_true"] == EXACT(f1_score(TRUTH, CHOSEN, pos_label=0))
    assert scores["f1_false"] == EXACT(f1_score(TRUTH, CHOSEN, pos_label=1))
    assert scores["score"] == EXACT(100 * 4 / 6)


@pytest.mark.parametrize("name", ["mrpc", "qqp"])
def test_paraphrases_score_the_mean_of_accuracy_and_f1_of_label_1(name: str) -> None:
    truth, chosen = [1, 1, 1, 0], [1, 1, 1, 1]
    scores = evaluate(get_task(name), labelled(truth), one_hot(chosen))
    assert scores == {"accuracy": 0.75, "f1": EXACT(6 / 7), "score": EXACT(50 * (0.75 + 6 / 7))}


@pytest.mark.parametrize("name", ["cola", "axb"])
def test_matthews_correlation_is_scikit_learns(name: str) -> None:
    scores = evaluate(get_task(name), labelled(TRUTH), one_hot(CHOSEN))
    assert scores["matthews"] == EXACT(matthews_corrcoef(TRUTH, CHOSEN))
    assert scores["score"] == EXACT(100 / 3)  # by hand: (2*2 - 1*1) / 9


def test_matthews_correlation_of_one_answer_for_all_is_0() -> None:
    assert evaluate(get_task("cola"), labelled(TRUTH), one_hot([1] * 6))["score"] == 0.0


def test_axg_counts_pairs_with_equal_answers() -> None:
    scores = evaluate(get_task("axg"), labelled([0, 0, 1, 1]), one_hot([0, 1, 0, 0]))
    assert scores == {"accuracy": 0.25, "gender_parity": 0.5, "score": 25.0}


def test_multirc_gives_exact_match_the_papers_f1_and_the_official_one() -> None:
    groups = ["a", "a", "a", "b", "b", "c"]
    truth, chosen = [1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 1, 0]
    examples = [
        Example(str(index), "x", label=label, group=group)
        for index, (label, group) in enumerate(zip(truth, groups, strict=True))
    ]
    scores = evaluate(get_task("multirc"), examples, one_hot(chosen))
    assert scores["exact_match"] == EXACT(2 / 3)  # a and c
    assert scores["f1_questions"] == EXACT((1 + 2 / 3 + 0) / 3)  # c has no right answer: 0
    assert scores["f1_answers"] == EXACT(6 / 7)
    assert scores["official_mean"] == EXACT((2 / 3 + 6 / 7) / 2)
    assert scores["score"] == EXACT(100 * (2 / 3 + 5 / 9) / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_multirc_agrees_with_scikit_learn_question_by_question(rows: list[tuple[int, int, int]]) -> None:
    examples = [
        Example(str(i), "x", label=truth, group=str(group)) for i, (group, truth, _) in enumerate(rows)
    ]
    scores = evaluate(get_task("multirc"), examples, one_hot([chosen for _, _, chosen in rows]))
    questions = [[row[1:] for row in rows if row[0] == group] for group in {row[0] for row in rows}]
    f1 = [f1_score(*zip(*question, strict=True), zero_division=0) for question in questions]
    assert scores["f1_questions"] == EXACT(np.mean(f1))
    pooled = f1_score([row[1] for row in rows], [row[2] for row in rows], zero_division=0)
    assert scores["f1_answers"] == EXACT(pooled)


def record_examples() -> list[Example]:
    facts = {"query": 0, "answers": ("The White House", "Trump")}
    other = {"query": 1, "answers": ("John Smith",)}
    return [
        Example("0", "x", label=0, group="a", answer="Washington", facts=facts),
        Example("1", "x", label=1, group="a", answer="white house!", facts=facts),
        Example("2", "x", label=0, group="b", answer="Smith", facts=other),
        Example("3", "x", label=0, group="b", answer="Rome", facts=other),
    ]


def test_record_compares_the_best_entity_with_the_nearest_answer_as_squad_does() -> None:
    logits = np.array([[0, 1], [0, 2], [0, 3], [0, 1]], dtype=np.float32)
    scores = evaluate(get_task("record"), record_examples(), logits)
    assert scores["exact_match"] == 0.5  # articles, case and punctuation do not count
    assert scores["f1"] == EXACT((1 + 2 / 3) / 2)
    assert scores["score"] == EXACT(100 * (0.5 + 5 / 6) / 2)


def test_record_ranks_by_probability_not_by_raw_logit() -> None:
    logits = np.array([[9, 10], [0, 2], [0, 3], [0, 1]], dtype=np.float32)
    assert evaluate(get_task("record"), record_examples(), logits)["exact_match"] == 0.5


def test_copa_by_choices_is_the_share_of_rows_whose_more_likely_choice_is_right() -> None:
    examples = [
        Example("", "x", label=label, group=group)
        for group, label in (("a", 1), ("a", 0), ("b", 0), ("b", 1), ("c", 1), ("c", 0))
    ]
    logits = np.array(
        [[5, 1], [9, 1], [0, 3], [0, 2], [2, 2], [1, 1]], dtype=np.float32
    )  # c: equal, the first
    assert evaluate(get_task("copa-choices"), examples, logits) == {
        "accuracy": EXACT(2 / 3),
        "score": EXACT(200 / 3),
    }


def test_answers_are_labels_numbers_or_the_candidates_picked() -> None:
    logits = np.array([[3, 1], [2, 1], [0, 1], [0, 2]], dtype=np.float32)
    examples = [Example(str(index), "x", group="ab"[index // 2]) for index in range(4)]
    assert answers_of(get_task("boolq"), examples, logits) == [0, 0, 1, 1]
    for name in ("copa-choices", "record"):  # of a, neither is likely
        assert answers_of(get_task(name), examples, logits) == [0, 1, 0, 1]
    assert answers_of(get_task("multirc"), examples, logits) == [0, 0, 1, 1]
    assert answers_of(get_task("stsb"), examples, logits[:, :1]) == [3.0, 2.0, 0.0, 0.0]


def test_stsb_scores_the_mean_of_two_correlations() -> None:
    truth, answers = [1.0, 2.0, 3.0, 4.0], np.array([[1.0], [2.0], [4.0], [3.0]])
    scores = evaluate(get_task("stsb"), labelled(truth), answers)
    assert scores == {"pearson": EXACT(0.8), "spearman": EXACT(0.8), "score": EXACT(80.0)}


def test_spearman_looks_at_ranks_with_ties_shared() -> None:
    scores = evaluate(get_task("stsb"), labelled([1.0, 2.0, 2.0]), np.array([[0.0], [1.0], [100.0]]))
    assert scores["spearman"] == EXACT(np.sqrt(3) / 2)
    assert scores["pearson"] == EXACT(np.corrcoef([1, 2, 2], [0, 1, 100])[0, 1])


def test_constant_answers_have_no_correlation() -> None:
    scores = evaluate(get_task("stsb"), labelled([1.0, 2.0]), np.array([[3.0], [3.0]]))
    assert scores == {"pearson": 0.0, "spearman": 0.0, "score": 0.0}


def test_a_users_task_has_accuracy_and_macro_f1() -> None:
    scores = evaluate(task_with_labels(("a", "b", "c")), labelled([0, 1, 2]), one_hot([0, 1, 1], 3))
    assert scores == {
        "accuracy": EXACT(2 / 3),
        "f1_macro": EXACT((1 + 2 / 3 + 0) / 3),
        "score": EXACT(200 / 3),
    }


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2,), (2, 2, 1), (0, 2)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"rte needs \[2, 2\]"):
        evaluate(get_task("rte"), labelled([0, 1]), np.zeros(shape))


def test_no_examples_are_refused() -> None:
    with pytest.raises(ShapeError, match="one row or more"):
        evaluate(get_task("rte"), [], np.zeros((0, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="logits of example 1 are not finite"):
        evaluate(get_task("rte"), labelled([0, 1]), np.array([[0.0, 1.0], [bad, 0.0]]))


@pytest.mark.parametrize("name", ["rte", "stsb", "multirc"])
def test_unlabelled_examples_are_refused(name: str) -> None:
    task = get_task(name)
    with pytest.raises(ConfigError, match="example 0 has no label"):
        evaluate(task, [Example("0", "x")], np.zeros((1, task.num_labels)))


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingExtraError, match=r"fastformers\.tasks\.evaluate needs sklearn.*\[train\]"):
        evaluate(get_task("cola"), labelled([0, 1]), one_hot([0, 1]))
