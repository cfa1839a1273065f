"""Counts of voxels that differ, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.bundles.bundle import Label, Outputs
from deepseg_lite.verification.counting import MAP_TOLERANCE, count_differing

REGIONS = Outputs("sigmoid", (Label("cord", (1, 2)), Label("gray", (2,))), (1, 2), ())
MAPS = Outputs("sigmoid", (Label("a", (1,)), Label("b", (2,))), None, (), values="maps")


def test_voxels_of_label_maps_are_counted_in_all_and_by_label():
    original = np.array([[[0, 1, 1, 2, 2]]])
    found = np.array([[[0, 1, 2, 2, 0]]])
    count = count_differing(found, original, REGIONS)
    assert (count.voxels, count.differing) == (5, 2)
    cord, gray = count.labels
    assert (cord.original, cord.here, cord.differing) == (4, 3, 1)
    assert (gray.original, gray.here, gray.differing) == (2, 2, 2)
    assert gray.dice == pytest.approx(2 * 1 / (2 + 2))
    assert cord.dice == pytest.approx(2 * 3 / (4 + 3))


def test_nothing_in_both_agrees():
    nothing = np.zeros((2, 2, 2), np.uint8)
    assert [each.dice for each in count_differing(nothing, nothing, REGIONS).labels] == [1, 1]


def test_maps_differ_beyond_the_tolerance_and_a_voxel_counts_once():
    original = np.zeros((1, 1, 4, 2), np.float32)
    found = original.copy()
    found[0, 0, 0] = 0.9 * MAP_TOLERANCE
    found[0, 0, 1] = 2 * MAP_TOLERANCE
    found[0, 0, 2, 1] = 0.75
    count = count_differing(found, original, MAPS)
    assert (count.voxels, count.differing) == (4, 2)
    assert [each.here for each in count.labels] == [0, 1]
    assert [each.differing for each in count.labels] == [0, 1]


def test_maps_of_one_label_need_no_fourth_axis():
    one = Outputs("sigmoid", (Label("a", (1,)),), None, (), values="maps")
    masks = np.ones((2, 3, 4), np.uint8)
    assert count_differing(masks[..., None], masks, one).differing == 0
