"""The canal, and components in their order along it, on small columns of boxes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.spine_columns import EVEN, ODD, UNSURE, line_at

from deepseg_lite.workflows.spine.parts import (
    Parts,
    add_unsure,
    find_centerline,
    find_parts,
    in_order,
    merge_alike,
)


def test_the_centreline_is_the_middle_of_the_extents():
    canal = np.zeros((12, 12, 4), bool)
    canal[2:6, 3:8, 1] = True  # middles 3.5 and 5, the first rounded down
    canal[2:9, 2:9, 2] = True
    canal[3:8, 3:8, 2] = False  # a ring around its middle
    line = find_centerline(canal)
    assert line.points.tolist() == [[3, 5, 1]]
    assert line.middle_y.tolist() == [-1, 5, 5, -1]


def test_points_of_the_centreline_are_in_array_order():
    canal = np.zeros((9, 9, 4), bool)
    for z, x in enumerate((5, 3, 7, 3)):
        canal[x, 2, z] = True
    assert find_centerline(canal).points[:, 2].tolist() == [1, 3, 0, 2]


def test_what_lies_in_front_of_the_canal():
    canal = np.zeros((5, 9, 2), bool)
    canal[2, 2:7, 0] = True
    behind = find_centerline(canal).is_behind(np.array([[0, 4, 0], [0, 5, 0], [0, 0, 1]]))
    assert behind.tolist() == [True, False, False]


@pytest.mark.parametrize(("gap", "count"), [(2, 1), (3, 2)])
def test_gaps_of_two_voxels_do_not_separate_components(gap, count):
    classes = np.zeros((24, 36, 80), np.uint8)
    classes[2:20, 12:24, 10:12] = 1
    classes[2:20, 12:24, 12 + gap : 14 + gap] = 2
    parts = find_parts(classes, [(1, 2)], 200, line_at())
    assert len(parts.order) == count
    np.testing.assert_array_equal(parts.ids > 0, classes > 0)


def test_corners_connect():
    classes = np.zeros((24, 36, 80), np.uint8)
    classes[0:6, 0:6, 0:6] = classes[8:14, 6:12, 6:12] = 1  # corner to corner once widened
    assert len(find_parts(classes, [(1,)], 200, line_at()).order) == 1


@pytest.mark.parametrize(("voxels", "count"), [(199, 0), (200, 1)])
def test_small_components_are_dropped_by_their_own_voxels(voxels, count):
    classes = np.zeros((24, 36, 80), np.uint8)
    classes[:10, :20, 10] = (np.arange(200) < voxels).reshape(10, 20)
    assert len(find_parts(classes, [(1,)], 200, line_at()).order) == count


def test_components_are_numbered_in_array_order_without_the_small_ones():
    classes = np.zeros((24, 36, 80), np.uint8)
    classes[0, 0, 0] = 1
    classes[4:14, 10:20, 40:44] = classes[15:22, 10:20, 20:24] = 1
    ids = find_parts(classes, [(1,)], 200, line_at()).ids
    assert (ids[0, 0, 0], ids[5, 12, 41], ids[16, 12, 21]) == (0, 1, 2)


def test_classes_of_different_groups_stay_apart():
    classes = np.zeros((24, 36, 80), np.uint8)
    classes[4:14, 10:20, 40:44] = 7
    classes[4:14, 10:20, 44:48] = 8
    parts = find_parts(classes, [(7,), (8,)], 200, line_at())
    assert parts.order == (2, 1)
    assert parts.ids[5, 12, 41] == 1


def test_order_is_that_along_the_canal_not_that_of_z():
    canal = np.zeros((3, 90, 60), bool)
    for z in range(60):  # the canal rises to the front
        canal[1, 10 + z, z] = True
    ids = np.zeros((3, 90, 60), np.int32)
    ids[1, 20, 50] = 2  # high but far behind
    ids[1, 60, 45] = 3
    parts = in_order(ids, find_centerline(canal))
    assert parts.order == (3, 2)
    assert parts.heights == (47, 30)  # both exactly between points: the first in array order


def test_equal_heights_have_the_higher_number_first():
    ids = np.zeros((24, 36, 80), np.int32)
    ids[2, 20, 40], ids[20, 20, 40], ids[12, 30, 40] = 3, 2, 5
    assert in_order(ids, line_at()).order == (5, 3, 2)


def leaning(number: int) -> Parts:
    """Order a part that is low in front and high behind, and another at a height between."""
    ids = np.zeros((24, 36, 80), np.int32)
    ids[5:8, 12:14, 30] = number
    ids[5:8, 0:7, 60] = number
    ids[5:8, 12:14, 45] = 9
    return in_order(ids, line_at())


def test_only_of_component_1_the_part_behind_the_canal_does_not_count():
    assert leaning(1).order == (9, 1)
    assert leaning(2).order == (2, 9)


@pytest.mark.parametrize(("others", "height"), [(True, 11), (False, 60)])
def test_component_1_behind_the_canal_goes_to_the_first_point(others, height):
    canal = np.zeros((24, 36, 80), bool)
    canal[12, 7, 11:] = True
    ids = np.zeros((24, 36, 80), np.int32)
    ids[5:8, 0:7, 60] = 1
    if others:
        ids[5:8, 12:14, 45] = 2
    parts = in_order(ids, find_centerline(canal))
    assert dict(zip(parts.order, parts.heights, strict=True))[1] == height


def blocks(*values: int) -> np.ndarray:
    """Return touching blocks of 1000 voxels, their classes from the top."""
    classes = np.zeros((24, 36, 80), np.uint8)
    for place, value in enumerate(values):
        classes[5:15, 14:24, 70 - 10 * place : 80 - 10 * place] = value
    return classes


def test_neighbours_that_began_as_one_class_are_joined():
    classes = blocks(ODD, 0, ODD, EVEN, ODD)
    line = line_at()
    parts = find_parts(classes, [(ODD,), (EVEN,)], 200, line)
    assert len(parts.order) == 4
    joined = merge_alike(parts, classes, line)
    assert len(joined.order) == 3
    assert joined.heights == (64, 44, 34)
    assert joined.ids[6, 15, 75] == joined.ids[6, 15, 55]


def test_three_alike_become_one():
    classes = blocks(ODD, 0, ODD, 0, ODD, 0, EVEN)
    line = line_at()
    joined = merge_alike(find_parts(classes, [(ODD,), (EVEN,)], 200, line), classes, line)
    assert len(joined.order) == 2


def bone(*shape: int) -> np.ndarray:
    return np.zeros(shape or (24, 36, 80), np.uint8)


def owners(classes: np.ndarray) -> np.ndarray:
    """Return numbers of components once unsure bone has been given away."""
    line = line_at()
    parts = find_parts(classes, [(ODD,), (EVEN,)], 20, line)
    return add_unsure(parts, classes == UNSURE, line).ids


def test_unsure_bone_between_voxels_of_a_vertebra_is_its():
    classes = bone()
    classes[5:15, 14:24, 40] = ODD
    classes[5:15, 14:24, 46] = ODD
    classes[5:15, 14:24, 41:46] = UNSURE
    classes[5:15, 20:24, 40:47] = ODD
    assert (owners(classes)[5:15, 14:24, 40:47] == 1).all()


@pytest.mark.parametrize("axis", range(3))
def test_between_is_along_any_one_axis(axis):
    classes = bone()
    box = np.moveaxis(classes[4:16, 12:24, 40:52], axis, 0)
    box[:] = UNSURE
    box[0, 3:9, 3:9] = box[-1, 3:9, 3:9] = box[:, 3, 3] = ODD  # a pole joins two plates
    given = np.moveaxis(owners(classes)[4:16, 12:24, 40:52], axis, 0) == 1
    assert given[:, 3:9, 3:9].all()
    np.testing.assert_array_equal(np.argwhere(given[5]).min(axis=0), 2)
    np.testing.assert_array_equal(np.argwhere(given[5]).max(axis=0), 9)


def test_what_is_beyond_a_vertebra_on_one_side_is_not_between():
    classes = bone()
    classes[4:6, 12:24, 40:42] = classes[4:16, 12:14, 40:42] = ODD  # an L
    classes[6:16, 14:24, 40:42] = UNSURE
    ids = owners(classes)[4:16, 12:24, 40]
    assert ids[2, 2:].all()
    assert ids[2:, 2].all()
    assert not ids[3:, 3:].any()


def test_unsure_bone_next_to_that_is_its_too_and_no_other():
    classes = bone()
    classes[5:15, 14:24, 40:44] = ODD
    classes[4:15, 10:14, 40:44] = UNSURE
    ids = owners(classes)
    assert (ids[5:15, 13, 40:44] == 1).all()
    assert not ids[4:15, :13].any()
    assert not ids[4, 13].any()  # an edge is not enough


def test_unsure_bone_goes_to_the_topmost_vertebra():
    classes = blocks(ODD, EVEN)
    classes[5:15, 14:24, 70] = UNSURE
    classes[15, 14:24, 65:75] = UNSURE
    ids = owners(classes)
    assert (ids[5:15, 14:24, 70] == ids[6, 15, 75]).all()
    assert ids[15, 15, 72] == ids[6, 15, 75]
    assert ids[15, 15, 66] == ids[6, 15, 66]


def test_neighbours_at_the_rim_of_the_image():
    classes = bone()
    classes[:10, :10, :5] = ODD
    classes[:10, 10, :5] = UNSURE
    assert (owners(classes)[:10, :11, :5] == 1).all()
