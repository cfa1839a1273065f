"""Connected components."""

from __future__ import annotations

import numpy as np

from deepseg_lite.components import keep_largest


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
