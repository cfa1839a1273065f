"""Levels: one numbered voxel per disc, and those of C1."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.spine import DISC_VALUES, make_leaning_neck, make_spine

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.levels import extract_levels
from deepseg_lite.workflows.spine.regions import fill_canal

CORD, CANAL, C1, BONE, C2_C3, C3_C4 = 1, 2, 11, 50, 63, 64


def straight(height: int = 40) -> np.ndarray:
    """Return a straight canal with its middle at x 9.5, y 9.5."""
    labels = np.zeros((20, 40, height), np.uint8)
    labels[8:12, 8:12] = CANAL
    return labels


def neck() -> np.ndarray:
    """Return a straight canal with C2-C3 at height 10, bone above it and C1 at the top."""
    labels = straight()
    labels[5:15, 16:24, 10] = C2_C3
    labels[5:15, 16:24, 13:26] = BONE
    labels[:, 28:36, 26:30] = C1
    return labels


def found(points: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Return the voxel of each number, which must be one."""
    voxels = {int(points[tuple(voxel)]): tuple(voxel.tolist()) for voxel in np.argwhere(points)}
    assert len(voxels) == np.count_nonzero(points)
    return voxels


def test_a_whole_spine_has_all_levels_from_the_top_down():
    labels = fill_canal(make_spine().labels)
    points = found(extract_levels(labels))
    assert sorted(points) == list(range(1, 26))
    heights = [points[number][2] for number in range(1, 26)]
    assert heights == sorted(heights, reverse=True)
    for number, value in DISC_VALUES.items():
        assert labels[points[number]] == value


@pytest.mark.parametrize(("first", "last"), [(5, 9), (7, 14), (19, 25)])
def test_the_first_disc_sets_the_number(first, last):
    points = found(extract_levels(make_spine(first, last).labels))
    assert sorted(points) == list(range(first + 1, last + 1))


def test_a_missing_disc_moves_all_numbers_below():
    points = found(extract_levels(make_spine(5, 14, missing=(9,)).labels))
    whole = found(extract_levels(make_spine(5, 14).labels))
    assert sorted(points) == list(range(6, 14))
    assert [points[n][2] for n in (6, 7, 8)] == [whole[n][2] for n in (6, 7, 8)]


def test_a_sixth_lumbar_disc_is_not_counted():
    labels = straight()
    labels[8:12, 16:20, 30], labels[8:12, 16:20, 20], labels[8:12, 16:20, 10] = 95, 96, 100
    assert found(extract_levels(labels)) == {24: (9, 16, 30), 25: (9, 16, 10)}


def test_a_level_is_the_disc_voxel_closest_to_the_canal():
    labels = straight()
    labels[3:6, 14:18, 20:24] = C3_C4
    assert found(extract_levels(labels)) == {4: (5, 14, 20)}


def test_the_middle_is_that_of_cord_and_canal():
    labels = straight()
    labels[8:16, 8:12] = CORD
    labels[:, 16, 20] = C3_C4
    assert found(extract_levels(labels))[4] == (11, 16, 20)


@pytest.mark.parametrize("slices", [2, 3, 4, 5])
def test_a_short_canal_is_enough(slices):
    labels = straight()
    labels[:, :, slices:] = 0
    labels[:, 16, 1] = C3_C4
    assert found(extract_levels(labels)) == {4: (9, 16, 1)}


def test_a_gap_in_the_canal_is_bridged():
    labels = straight()
    labels[:, :, 15:25] = 0
    labels[:, 16, 20] = C3_C4
    assert found(extract_levels(labels)) == {4: (9, 16, 20)}


def test_levels_of_c1_lie_in_front_of_the_canal():
    points = found(extract_levels(neck()))
    # C2-C3 is at (9, 16, 10); the highest bone below C1's top is at height 25.
    assert points == {3: (9, 16, 10), 1: (9, 16, 25), 2: (9, 16, 17)}


@pytest.mark.parametrize(("voxels", "numbers"), [(500, {3}), (501, {1, 2, 3})])
def test_c1_must_be_large(voxels, numbers):
    labels = neck()
    c1 = np.argwhere(labels == C1)[voxels:]
    labels[tuple(c1.T)] = 0
    assert set(found(extract_levels(labels))) == numbers


def test_without_c2_c3_there_is_no_c1():
    labels = neck()
    labels[labels == C2_C3] = C3_C4
    assert set(found(extract_levels(labels))) == {4}


def test_without_bone_in_the_slice_of_c2_c3_there_is_no_c1():
    labels = neck()
    labels[9][labels[9] == BONE] = 0
    assert set(found(extract_levels(labels))) == {3}


def test_bone_above_the_top_of_c1_does_not_count():
    labels = neck()
    labels[9, 18, 29:35] = BONE
    assert found(extract_levels(labels))[1] == (9, 16, 25)


def test_a_level_in_front_of_the_image_is_an_error():
    labels = make_leaning_neck(1, 59, 50)
    with pytest.raises(ImageError, match="level 1 would be outside the image"):
        extract_levels(labels)


def test_a_level_behind_the_image_is_counted_from_the_front():
    points = found(extract_levels(make_leaning_neck(-1, 5, 4)))
    assert points[1] == (9, 57, 30)  # y is -3


def test_no_canal_is_an_error():
    labels = straight()
    labels[:] = C3_C4
    with pytest.raises(ImageError, match="the spine has no canal"):
        extract_levels(labels)


def test_a_canal_of_one_slice_is_an_error():
    labels = straight()
    labels[:, :, 1:] = 0
    labels[:, 16, 0] = C3_C4
    with pytest.raises(ImageError, match="the canal is in one slice"):
        extract_levels(labels)


@pytest.mark.parametrize("value", [0, 96, BONE])
def test_no_disc_is_an_error(value):
    labels = straight()
    labels[:, 16, 20] = value
    with pytest.raises(ImageError, match="the spine has no disc"):
        extract_levels(labels)


def test_the_labels_are_left_alone():
    labels = neck()
    before = labels.copy()
    extract_levels(labels)
    np.testing.assert_array_equal(labels, before)
