"""Connected components."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps.components import fill_holes, keep_largest, remove_small


def _line(*values):
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def test_the_largest_piece_stays_with_its_values():
    found = keep_largest(_line(1, 1, 0, 1, 2, 2, 0, 3))
    assert found.ravel().tolist() == [0, 0, 0, 1, 2, 2, 0, 0]
    assert found.dtype == np.uint8


def test_of_equal_pieces_the_first_stays():
    assert keep_largest(_line(0, 1, 1, 0, 2, 2)).ravel().tolist() == [0, 1, 1, 0, 0, 0]


def test_corners_do_not_connect():
    labels = np.zeros((3, 3, 1), np.uint8)
    labels[0, :2] = labels[1, 2] = 1
    assert keep_largest(labels).sum() == 2


def test_one_piece_or_none_stays_as_it_is():
    for labels in (_line(0, 0), _line(0, 5, 5)):
        np.testing.assert_array_equal(keep_largest(labels), labels)


def test_faint_probabilities_do_not_connect():
    soft = np.array([0.5, 0.0005, 0.5, 0.5], np.float32).reshape(-1, 1, 1)
    assert keep_largest(soft).ravel().tolist() == [0, 0, 0.5, 0.5]
    assert keep_largest(soft).dtype == np.float32


def test_holes_are_filled_unless_even_a_corner_leads_out():
    shell = np.ones((5, 5, 5), np.uint8)
    shell[1:4, 1:4, 1:4] = 0
    assert fill_holes(shell).all()
    shell[0, 0, 0] = 0  # touches the hole's corner
    np.testing.assert_array_equal(fill_holes(shell), shell)
    shell[1, 1, 1] = 1  # and now it does not
    assert fill_holes(shell).sum() == 124
    tube = np.repeat(shell[:, :, 2:3], 3, axis=2)  # open at both ends
    np.testing.assert_array_equal(fill_holes(tube), tube)


@pytest.mark.parametrize(("minimum", "left"), [(0, 6), (2, 6), (3, 4), (4, 4), (5, 0)])
def test_small_objects_go_and_edges_connect(minimum, left):
    labels = np.zeros((8, 3, 3), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 0] = 3  # an edge: one object of two
    labels[4:8, 2, 2] = 1
    assert np.count_nonzero(remove_small(labels, minimum)) == left


def test_corners_do_not_make_one_object():
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 1
    assert not remove_small(labels, 2).any()
