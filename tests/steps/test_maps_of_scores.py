"""Activations and what turns maps into masks and labels."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps.maps import ACTIVATIONS, argmax, binarize, keep_components, limit, one_hot

SCORES = np.array([[-2.0, 0, 3], [1, 0, 2]], np.float32).reshape(2, 3, 1, 1)
EVERYTHING = dict(labels=None, one_hot=None, independent=True, connectivity=1, count=1)


def row(maps):
    return maps.reshape(len(maps), -1).tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", [[1 / (1 + np.e**3), 0.5, 1 / (1 + np.e**-1)]]),
        ("sigmoid", [[1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-3)]]),
        ("relu", [[0, 0, 3], [1, 0, 2]]),
        ("relu_scaled", [[0, 0, 1], [1 / 3, 0, 2 / 3]]),
        ("none", [[-2, 0, 3], [1, 0, 2]]),
    ],
)
def test_activations(name, expected):
    found = ACTIVATIONS[name](SCORES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(row(found)[: len(expected)], expected, rtol=1e-6)


def test_nothing_positive_is_not_scaled():
    np.testing.assert_array_equal(ACTIVATIONS["relu_scaled"](-np.ones((1, 2, 2, 2), np.float32)), 0)


def test_the_first_of_equal_maps_wins():
    assert row(argmax(SCORES)) == [[1, 0, 0]]


def test_one_hot():
    labels = np.array([2, 0, 1], np.float32).reshape(1, 3, 1, 1)
    assert row(one_hot(labels, 3)) == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(("inclusive", "expected"), [(True, [0, 1, 1]), (False, [0, 0, 1])])
def test_binarizing_at_or_above_the_threshold(inclusive, expected):
    maps = np.array([0.4, 0.5, 0.6], np.float32).reshape(1, 3, 1, 1)
    assert row(binarize(maps, 0.5, inclusive)) == [expected]


def test_limits():
    maps = np.array([-1, 0.1, 0.11, 0.99, 1.2], np.float32).reshape(1, 5, 1, 1)
    np.testing.assert_allclose(row(limit(maps, 0.1, 1.0)), [[0, 0, 0.11, 0.99, 1]])


def line(*values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 0, 1, 1, 0, 2, 2, 2, 0, 0]),
        ({"labels": [2]}, [1, 0, 1, 1, 0, 2, 2, 2, 0, 0]),
        ({"count": 2}, [1, 0, 1, 1, 0, 2, 2, 2, 0, 2]),
        ({"independent": False}, [0, 0, 0, 0, 0, 2, 2, 2, 0, 0]),
    ],
    ids=str,
)
def test_components_of_a_label_map(changes, expected):
    labels = line(1, 0, 1, 1, 0, 2, 2, 2, 0, 2)
    before = labels.copy()
    assert row(keep_components(labels, **(EVERYTHING | changes))) == [expected]
    np.testing.assert_array_equal(labels, before)


def test_components_of_masks_leave_the_background_alone():
    masks = np.concatenate([line(1, 0, 1, 1), line(1, 0, 1, 1)])
    assert row(keep_components(masks, **EVERYTHING)) == [[1, 0, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize(("connectivity", "kept"), [(1, 1), (2, 2), (3, 3)])
def test_connectivity(connectivity, kept):
    mask = np.zeros((1, 3, 3, 3), np.float32)
    mask[0, 0, 0, 0] = mask[0, 0, 1, 1] = mask[0, 1, 2, 2] = 1
    found = keep_components(mask, **(EVERYTHING | {"connectivity": connectivity}))
    assert found.sum() == kept
