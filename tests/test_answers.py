# SPDX-License-Identifier: MIT
"""What answers are made of: names of classes, and rows of padded batches put back in order."""

from __future__ import annotations

import numpy as np
import pytest

from fastformers.answers import class_names, predictions, similarities, unpadded


@pytest.mark.parametrize("id2label", [{0: "no", 1: "yes"}, {"1": "yes", "0": "no"}])
def test_names_of_classes_are_in_the_order_of_their_numbers(id2label):
    assert class_names(id2label) == ("no", "yes")


@pytest.mark.parametrize("id2label", [None, {}, {1: "yes"}, {0: "no", 2: "yes"}, {"no": 0}, "no", ["no"]])
def test_names_that_do_not_number_the_classes_from_zero_on_are_none(id2label):
    assert class_names(id2label) is None


def test_more_than_ten_classes_are_in_the_order_of_numbers_not_of_their_texts():
    names = class_names({str(number): f"class {number}" for number in range(11)})
    assert names == tuple(f"class {number}" for number in range(11))


def test_rows_of_batches_come_in_the_order_of_the_texts():
    batches = [([2, 0], np.array([[2.0], [0.0]], np.float32)), ([1], np.array([[1.0]], np.float32))]
    assert [row.tolist() for row in unpadded(batches, [4, 4, 4])] == [[0.0], [1.0], [2.0]]


def test_rows_of_tokens_lose_their_padding():
    output = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    first, second = unpadded([([1, 0], output)], [1, 3])
    np.testing.assert_array_equal(first, output[1, :1])
    np.testing.assert_array_equal(second, output[0])


@pytest.mark.parametrize("width", [26, 384])
def test_a_documents_similarity_has_the_same_bits_whatever_comes_with_it(width):
    vectors = np.random.default_rng(0).standard_normal((40, width)).astype(np.float32)
    alone = [similarities(vectors[[0, row]])[0] for row in range(1, 40)]
    assert np.array_equal(similarities(vectors), alone)
    exact = vectors[1:].astype(np.float64) @ vectors[0] / np.linalg.norm(vectors[1:], axis=1)
    assert np.allclose(alone, exact / np.linalg.norm(vectors[0]), atol=1e-6)


def test_one_output_is_a_probability_only_where_labels_may_come_together():
    logits = np.array([[0.0], [-800.0]], np.float32)
    assert [found.score for found in predictions(logits, ("a",))] == [0.0, -800.0]
    assert [found.score for found in predictions(logits, ("a",), many_labels=True)] == [0.5, 0.0]
