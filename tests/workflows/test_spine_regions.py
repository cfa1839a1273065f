"""The main part, the canal, boxes, every second disc and soft maps, on small maps."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.spine import make_spine

from deepseg_lite.workflows.spine.regions import (
    alternate_discs,
    bounding_box,
    fill_canal,
    largest_part,
    soft_map,
)

CORD, CANAL, DISC = 1, 2, 70


def empty(*shape: int) -> np.ndarray:
    return np.zeros(shape or (20, 20, 20), np.uint8)


@pytest.mark.parametrize(("distance", "joined"), [(11, True), (12, False)])
def test_small_gaps_do_not_separate_parts(distance, joined):
    labels = empty(40, 5, 5)
    labels[3:6, 2, 2] = 4
    labels[5 + distance, 2, 2] = 7
    kept = largest_part(labels)
    assert (kept == 4).sum() == 3
    assert (kept == 7).sum() == joined


def test_the_part_with_most_voxels_is_kept_with_its_labels():
    labels = empty(60, 5, 5)
    labels[2:5, 2, 2] = 3
    labels[40, 1:4, 1:4] = 8
    labels[41, 2, 2] = 9
    kept = largest_part(labels)
    np.testing.assert_array_equal(kept, np.where(labels > 3, labels, 0))
    assert kept.dtype == np.uint8


def test_the_size_of_a_part_is_that_before_it_is_widened():
    labels = empty(60, 20, 20)
    labels[10, 10, 8:12] = 1  # few voxels, far from each other: wide once widened
    labels[10, 16, 10] = labels[10, 4, 10] = 1
    labels[40:42, 9:11, 9:11] = 2
    assert set(np.unique(largest_part(labels))) == {0, 2}


def test_the_first_of_equal_parts_is_kept():
    labels = empty(60, 5, 5)
    labels[2, 2, 2], labels[50, 2, 2] = 5, 6
    assert largest_part(labels).max() == 5


def test_an_empty_map_stays_empty():
    for function in (largest_part, fill_canal, alternate_discs):
        np.testing.assert_array_equal(function(empty()), empty())


def test_false_components_are_dropped_from_a_spine():
    spine = make_spine(1, 8)
    labels = np.pad(spine.step1, 12)
    labels[:3, :3, :3] = 1
    np.testing.assert_array_equal(largest_part(labels), np.pad(spine.step1, 12))


def test_cord_apart_from_the_cord_becomes_canal():
    labels = empty()
    labels[8:12, 8:12, :] = CANAL
    labels[9:11, 9:11, 8:] = CORD
    labels[9, 9, 2] = CORD
    filled = fill_canal(labels)
    assert filled[9, 9, 2] == CANAL
    assert (filled == CORD).sum() == 4 * 12


def test_canal_apart_from_the_canal_is_removed():
    labels = empty()
    labels[8:12, 8:12, :] = CANAL
    labels[2, 2, 2] = CANAL
    labels[17, 17, 17] = CORD  # the only cord: cord, until the canal's largest piece is kept
    filled = fill_canal(labels)
    assert filled[2, 2, 2] == filled[17, 17, 17] == 0
    assert (filled == CANAL).sum() == 16 * 20


def test_the_canal_is_filled_over_other_labels():
    labels = empty()
    labels[5:15, 5:15, 5:15] = CANAL
    labels[8:12, 8:12, 5:15] = DISC
    filled = fill_canal(labels)
    assert DISC not in filled
    assert (filled == CANAL).sum() == 1000


def test_filling_needs_canal_on_both_axes():
    labels = empty()
    labels[5:15, 5, 5] = labels[5, 5:15, 5] = CANAL  # an L: its inner corner is open
    np.testing.assert_array_equal(fill_canal(labels), labels)
    labels[5:15, 14, 5] = labels[14, 5:15, 5] = CANAL
    assert (fill_canal(labels) == CANAL).sum() == 100


def test_cord_without_canal_is_not_filled():
    labels = empty()
    labels[5:15, 5:15, 5] = CORD
    labels[8:12, 8:12, 5] = 0
    np.testing.assert_array_equal(fill_canal(labels), labels)


def test_cord_is_never_overwritten():
    labels = empty()
    labels[5:15, 5:15, 5:15] = CANAL
    labels[9, 9, 5:15] = CORD
    assert (fill_canal(labels) == CORD).sum() == 10


def test_box_has_a_margin_and_ends_at_the_border():
    labels = empty(30, 30, 30)
    labels[4:10, 12:20, 25] = 3
    assert bounding_box(labels, 5) == (slice(0, 15), slice(7, 25), slice(20, 30))


def test_box_of_nothing_is_everything():
    assert bounding_box(empty(3, 4, 5), 1) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_every_second_disc_that_is_there_is_marked():
    labels = empty(1, 1, 10)
    labels[0, 0] = [0, 63, 65, 66, 71, 96, 100, 50, 11, 2]
    np.testing.assert_array_equal(alternate_discs(labels)[0, 0], [0, 1, 0, 1, 0, 1, 0, 0, 0, 0])


def test_soft_map_reaches_one_step_around_the_structure():
    labels = empty(7, 7, 7)
    labels[3, 3, 3], labels[0, 0, 0] = CANAL, DISC
    probabilities = np.full((7, 7, 7), 0.25, np.float32)
    kept = soft_map(probabilities, labels, (CORD, CANAL))
    assert kept.dtype == np.float32
    assert (kept == 0.25).sum() == 7
    assert kept[3, 3, 4] == 0.25
    assert kept[3, 4, 4] == 0


def test_inputs_are_left_alone():
    labels = make_spine(4, 9, seed=3).labels
    before = labels.copy()
    for function in (largest_part, fill_canal, alternate_discs):
        function(labels)
    np.testing.assert_array_equal(labels, before)
