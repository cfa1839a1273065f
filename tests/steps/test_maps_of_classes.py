"""Steps on maps that stay apart, one for each class."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps.maps import binarize_maximum, fill_holes, keep_largest, remove_small


def _maps(*rows):
    """Return maps of voxels in a row, one row per class."""
    return np.array(rows, np.float32).reshape(len(rows), -1, 1, 1)


def _rows(maps):
    return maps.reshape(len(maps), -1).tolist()


def test_the_largest_class_wins_and_background_wins_ties():
    found = binarize_maximum(_maps([0.5, 0.6, 0.4, 0.4], [0, 0.3, 0.4, 0.1]))
    assert _rows(found) == [[0, 1, 1, 0], [0, 0, 0, 0]]


def test_classes_at_one_voxel_hang_together():
    maps = _maps([1, 1, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1])
    assert _rows(keep_largest(maps)) == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1]]
    apart = _maps([1, 1, 1, 0, 0], [0, 0, 0, 1, 1])  # neighbours in place, but of other classes
    assert _rows(keep_largest(apart)) == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_of_equal_objects_the_first_place_counts_before_the_class():
    maps = _maps([0, 0, 0, 1, 1], [1, 1, 0, 0, 0])
    assert _rows(keep_largest(maps)) == [[0, 0, 0, 0, 0], [1, 1, 0, 0, 0]]


def test_soft_values_of_the_largest_object_stay():
    maps = _maps([0.2, 0.0005, 0.3, 0.4, 0.001])
    np.testing.assert_array_equal(keep_largest(maps), _maps([0, 0, 0.3, 0.4, 0.001]))


def test_holes_of_each_class_are_filled_after_binarising():
    maps = np.full((2, 5, 5, 5), 0.7, np.float32)
    maps[0, 2, 2, 2] = 0.2
    maps[1] = 0.4
    found = fill_holes(maps)
    assert found[0].all()
    assert not found[1].any()
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("minimum", "unit", "left"),
    [
        ([3], "vox", [3, 4]),
        ([4], "vox", [0, 4]),
        ([1, 5], "vox", [5, 0]),
        ([10], "mm3", [5, 4]),
        ([14], "mm3", [0, 4]),
    ],
)
def test_each_class_has_its_own_smallest_object(minimum, unit, left):
    maps = _maps([1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0])
    found = remove_small(maps, minimum, unit, image_spacing=(2.0, 2.0, 1.0))
    assert found.sum(axis=(1, 2, 3)).tolist() == left


def test_the_number_of_sizes_must_fit_the_classes():
    with pytest.raises(ValueError, match="zip"):
        remove_small(_maps([1], [1], [1]), [1, 2], "vox", image_spacing=(1, 1, 1))
