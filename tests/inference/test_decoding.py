"""Scores to labels and probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.inference.decoding import (
    label_dtype,
    label_probabilities,
    majority,
    paint_labels,
    winning_probabilities,
)


def _scores(*channels):
    """Return scores (K, n, 1, 1) from one list per channel."""
    return np.array(channels, np.float32)[..., None, None]


@pytest.mark.parametrize(
    ("value", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)]
)
def test_label_type_holds_the_largest_value(value, dtype):
    assert label_dtype(value) is dtype


def test_softmax_labels_are_the_largest_score_and_the_first_on_ties():
    scores = _scores([3, 0, 1, 2], [1, 2, 1, 2], [0, 5, 1, 2.5])
    labels = paint_labels(scores, None, np.uint8)
    assert labels.dtype == np.uint8
    assert labels.ravel().tolist() == [0, 2, 0, 2]


def test_regions_are_painted_in_order_over_each_other():
    scores = _scores([-1, 1, 1, -1], [-1, -1, 1, 1])
    assert paint_labels(scores, (1, 2), np.uint8).ravel().tolist() == [0, 1, 2, 2]
    assert paint_labels(scores, (2, 1), np.uint8).ravel().tolist() == [0, 2, 1, 1]


def test_a_probability_of_exactly_one_half_is_background():
    assert paint_labels(_scores([0, 1e-6]), (300,), np.uint16).ravel().tolist() == [0, 300]


def test_softmax_probabilities_leave_background_out():
    scores = _scores([0, 0, 1000], [0, np.log(2), -1000], [0, np.log(5), 0])
    found = label_probabilities(scores, "softmax")
    expected = _scores([1 / 3, 2 / 8, 0], [1 / 3, 5 / 8, 0])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_sigmoid_probabilities_are_one_per_region_and_never_overflow():
    found = label_probabilities(_scores([0, 1e4, -1e4], [np.log(3), 0, 0]), "sigmoid")
    np.testing.assert_allclose(found, _scores([0.5, 1, 0], [0.75, 0.5, 0.5]), atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_half_precision_scores_give_float32_probabilities(activation):
    scores = _scores([0, 1], [1, 0]).astype(np.float16)
    assert label_probabilities(scores, activation).dtype == np.float32


def test_labels_agree_with_probabilities(rng):
    scores = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    probabilities = label_probabilities(scores, "softmax")[0]
    np.testing.assert_array_equal(paint_labels(scores, None, np.uint8), probabilities > 0.5)


def test_probabilities_stay_where_their_label_wins():
    scores = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 3]], np.float32).reshape(3, 3, 1, 1)
    found = winning_probabilities(scores, "softmax")
    full = label_probabilities(scores, "softmax")
    assert (found > 0)[..., 0, 0].tolist() == [[True, False, False], [False, False, True]]
    np.testing.assert_array_equal(found[found > 0], full[found > 0])


def test_regions_win_each_on_its_own():
    scores = np.array([[1, -1], [2, 0]], np.float32).reshape(2, 2, 1, 1)
    found = winning_probabilities(scores, "sigmoid")
    assert (found > 0)[..., 0, 0].tolist() == [[True, False], [True, False]]


def test_more_than_half_of_the_folds_must_agree():
    votes = [[1, 1, 1, 2, 0], [1, 1, 2, 2, 0], [1, 0, 2, 0, 0], [0, 0, 2, 2, 1]]
    maps = [np.array(vote, np.uint8).reshape(-1, 1, 1) for vote in votes]
    assert majority(maps).ravel().tolist() == [1, 0, 2, 2, 0]
    assert majority(maps[:3]).ravel().tolist() == [1, 1, 2, 2, 0]
    assert majority(maps).dtype == np.uint8
