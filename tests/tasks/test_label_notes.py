# SPDX-License-Identifier: MIT
"""Notes on labels: those that are one but for capitals, and those that no score is of."""

from __future__ import annotations

from fastformers.tasks import Example, get_task
from fastformers.tasks.custom import task_with_labels
from fastformers.tasks.label_notes import label_notes

VAL = [Example("1", "x", None, 0), Example("2", "y", None, 1)]


def test_labels_that_are_all_scored_are_not_noted() -> None:
    assert label_notes(task_with_labels(("bad", "good")), VAL) == ()
    numbers = [Example("1", "x", None, 0.5), Example("2", "y", None, 1.5)]
    assert label_notes(task_with_labels(()), numbers) == ()
    assert label_notes(task_with_labels(()), ()) == ()
    assert label_notes(task_with_labels(("bad", "good")), ()) == ()  # no validation set, no score


def test_labels_that_differ_in_capitals_alone_are_noted() -> None:
    assert label_notes(task_with_labels(("Good", "good")), VAL) == (
        "'Good' and 'good' are two labels: write them alike if they are one",
    )


def test_fractions_learned_as_classes_are_noted_and_ratings_are_not() -> None:
    (note,) = label_notes(task_with_labels(("0", "0.5", "1")), ())
    assert note.startswith("the labels are 3 numbers, some with a fraction, and are learned as classes: ")
    for labels in (("1", "2.0"), ("1.5", "many"), ("1", "nan")):
        assert label_notes(task_with_labels(labels), ()) == ()


def test_labels_without_a_validation_example_are_named_few_of_them_where_they_are_many() -> None:
    assert label_notes(task_with_labels(("a", "b", "c", "d")), VAL) == (
        "no validation example has the label 'c', 'd': no score tells how well that is learned",
    )
    (note,) = label_notes(task_with_labels(tuple(f"{number:02}" for number in range(40))), VAL)
    assert "'11' and 28 others: " in note


def test_labels_of_candidates_of_which_one_is_picked_are_not_what_is_scored() -> None:
    assert label_notes(get_task("copa-choices"), VAL[:1]) == ()


def test_numbers_that_are_all_the_same_are_noted_as_nothing_correlates_with_them() -> None:
    (note,) = label_notes(task_with_labels(()), [Example("1", "x", None, 1.5), Example("2", "y", None, 1.5)])
    assert note.startswith("all validation examples have the number 1.5: nothing correlates with it")
