"""Grids of the TotalSpineSeg workflow: known cases, properties and errors."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.frames import SLAB_VOXELS, Frame, pull
from deepseg_lite.workflows.spine.grids import (
    Grid,
    labels_to_grid,
    map_to_grid,
    mean_over_time,
    points_to_grid,
    to_canonical,
    to_isotropic,
)
from deepseg_lite.workflows.spine.headers import affine_of_labels, cropped_affine, stored
from deepseg_lite.workflows.spine.svd import invert, left_vectors

ORIENTATIONS = [
    "".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)
]


def scaled(spacing, origin=(0, 0, 0)) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def turned(degrees: float, spacing=(1, 1, 1), origin=(0, 0, 0)) -> np.ndarray:
    affine = scaled(spacing, origin)
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine[:3, :3] = turn * spacing
    return affine


@pytest.mark.parametrize(
    ("dtype", "expected"), [("int16", 1), ("uint8", 1), ("float32", 1.75), ("float64", 1.75)]
)
def test_means_of_integers_lose_their_fraction(dtype, expected):
    data = np.broadcast_to(np.array([1, 1, 2, 3]), (2, 3, 4, 4)).astype(dtype)
    mean = mean_over_time(data)
    assert mean.shape == (2, 3, 4)
    assert mean.dtype == dtype
    assert (mean == expected).all()


def test_means_below_zero_are_cut_towards_zero():
    assert mean_over_time(np.array([-1, -2], np.int16).reshape(1, 1, 1, 2)).item() == -1


def test_a_volume_is_its_own_mean(rng):
    data = rng.random((3, 4, 5))
    np.testing.assert_array_equal(mean_over_time(data), data)


def test_big_endian_data_become_native():
    data = np.arange(8, dtype=">i2").reshape(2, 2, 2)
    for volume in (mean_over_time(data), to_isotropic(data, np.eye(4))[0]):
        assert volume.dtype == np.int16
        np.testing.assert_array_equal(volume, data)


@pytest.mark.parametrize("shape", [(4, 5), (3, 3, 3, 2, 2), (3, 3, 3, 0)], ids=str)
def test_neither_volume_nor_series(shape):
    with pytest.raises(ImageError, match="one 3-D volume, or a series"):
        mean_over_time(np.zeros(shape))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_canonical_is_nibabels(orientation, rng):
    data, affine = rng.random((4, 5, 6)), make_affine(orientation)
    found, found_affine = to_canonical(data, affine)
    expected = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    np.testing.assert_array_equal(found, expected.get_fdata())
    np.testing.assert_allclose(found_affine, expected.affine, rtol=0, atol=1e-5)
    assert nib.aff2axcodes(found_affine) == ("R", "A", "S")


def test_affines_are_those_of_a_file():
    affine = scaled((0.1, 0.2, 0.3), (1 / 3, 2 / 3, 100.1))
    for _, found in (
        to_canonical(np.zeros((3, 3, 3)), affine),
        to_isotropic(np.zeros((30, 30, 30)), affine),
    ):
        np.testing.assert_array_equal(found, found.astype(np.float32))


def test_isotropic_keeps_the_centre(rng):
    shape = (7, 12, 9)
    affine = turned(20, (1.3, 0.6, 2.7), (3, -40, 71))
    data, new = to_isotropic(rng.random(shape), affine)
    assert data.shape == (9, 7, 24)
    middle = affine @ [*(np.array(shape) - 1) / 2, 1]
    np.testing.assert_allclose(new @ [*(np.array(data.shape) - 1) / 2, 1], middle, atol=1e-5)
    np.testing.assert_allclose(nib.affines.voxel_sizes(new), 1, atol=1e-6)


def test_a_ramp_stays_a_ramp():
    affine = scaled((2, 0.5, 3), (10, 20, 30))
    ramp = np.indices((8, 20, 6)).transpose(1, 2, 3, 0) @ affine[:3, :3].T + affine[:3, 3]
    for axis in range(3):
        data, new = to_isotropic(ramp[..., axis], affine)
        expected = np.arange(data.shape[axis]) + new[axis, 3]
        found = np.moveaxis(data, axis, 0)[:, data.shape[axis - 2] // 2, data.shape[axis - 1] // 2]
        inside = (expected >= ramp[..., axis].min()) & (expected <= ramp[..., axis].max())
        np.testing.assert_allclose(found[inside], expected[inside], atol=1e-12)


def test_integers_lose_what_is_behind_the_point():
    data = np.array([0, 3, 5, 6], np.int16).reshape(4, 1, 1)
    found, _ = to_isotropic(data, scaled((2, 1, 1)))
    # 1 mm voxels at -0.25, 0.25, 0.75, ... of the old ones; the edge is repeated
    assert found.ravel().tolist() == [0, 0, 2, 3, 4, 5, 5, 6]
    below, _ = to_isotropic(-data, scaled((2, 1, 1)))
    assert below.ravel().tolist() == (-found).ravel().tolist()


def test_an_image_of_1_mm_stays():
    data = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    affine = scaled((1, 1, 1), (5, 6, 7))
    found, new = to_isotropic(data, affine)
    np.testing.assert_array_equal(found, data)
    np.testing.assert_array_equal(new, affine)


def test_lengths_are_rounded_down_but_one_voxel_stays_one():
    data, _ = to_isotropic(np.ones((1, 10, 3)), scaled((9, 0.99, 0.7)))
    assert data.shape == (1, 9, 2)


def test_an_oblique_image_whose_spacing_comes_out_smaller_loses_a_voxel():
    affine = turned(30) * (1 - 1e-8)
    data, _ = to_isotropic(np.ones((6, 6, 6)), affine)
    assert data.shape == (5, 5, 5)


def test_too_thin_for_one_voxel():
    with pytest.raises(ImageError, match=r"\(2, 9, 9\) voxels .*at least 1 mm"):
        to_isotropic(np.zeros((2, 9, 9)), scaled((0.4, 1, 1)))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_affines_without_an_inverse(value):
    affine = scaled((1, 1, value))
    with pytest.raises(ImageError, match="affine cannot be inverted"):
        to_isotropic(np.zeros((3, 3, 3)), affine)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_come_back_to_any_orientation(orientation, rng):
    labels = rng.integers(0, 9, (5, 6, 7)).astype(np.uint8)
    affine = make_affine(orientation)
    canonical, canonical_affine = to_canonical(labels, affine)
    back = labels_to_grid(canonical, canonical_affine, Grid(labels.shape, affine))
    np.testing.assert_array_equal(back, labels)


def test_half_way_labels_come_from_the_higher_voxel():
    labels = np.arange(1, 9, dtype=np.uint8).reshape(8, 1, 1)
    grid = Grid((4, 1, 1), scaled((2, 1, 1), (0.5, 0, 0)))
    assert labels_to_grid(labels, np.eye(4), grid).ravel().tolist() == [2, 4, 6, 8]


def test_outside_is_zero_from_half_a_voxel_on():
    labels = np.full((2, 1, 1), 7, np.uint8)
    grid = Grid((8, 1, 1), scaled((0.5, 1, 1), (-1, 0, 0)))
    # at -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5; the lower edge belongs to the image, the upper not
    assert labels_to_grid(labels, np.eye(4), grid).ravel().tolist() == [0, 7, 7, 7, 7, 0, 0, 0]
    soft = map_to_grid(np.ones((2, 1, 1)), np.eye(4), grid)
    assert soft.dtype == np.float32
    assert soft.ravel().tolist() == [0, 1, 1, 1, 1, 0, 0, 0]


def test_maps_are_interpolated(rng):
    plane = np.add.outer(np.arange(10.0), 2 * np.arange(11.0))[..., None] * np.ones(12)
    affine = turned(15, (1.5, 1.5, 1), (2, 3, 4))
    points = rng.uniform(2, 7, (3,))
    grid = Grid((1, 1, 1), scaled((1, 1, 1), (affine @ [*points, 1])[:3]))
    expected = points[0] + 2 * points[1]
    assert map_to_grid(plane, affine, grid).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "nearest"])
def test_slabs_do_not_show(rng, linear):
    data, shape = rng.random((20, 21, 22)), (19, 22, 21)
    frames = [Frame.from_affine(turned(*grid)) for grid in ((12, (1.1, 0.9, 1.3)), (5, (1, 1, 1)))]
    assert data.size < SLAB_VOXELS
    whole = pull(data, *frames, shape, linear=linear)
    slabs = pull(data, *frames, shape, linear=linear, slab_voxels=1)
    assert whole.any()
    np.testing.assert_array_equal(slabs, whole)


def test_inputs_stay_as_they_are(rng):
    data = rng.integers(0, 9, (6, 7, 8)).astype(np.uint8)
    affine = turned(10, (1.1, 0.9, 1.3))
    before = data.copy(), affine.copy()
    to_canonical(data, affine)
    to_isotropic(data, affine)
    points_to_grid(data, affine, Grid((4, 4, 4), affine))
    np.testing.assert_array_equal(data, before[0])
    np.testing.assert_array_equal(affine, before[1])


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 0.5), (3, 0.7, 0.7), (1, 1, 5)], ids=str)
def test_every_point_stays_one_voxel_near_its_place(spacing, rng):
    points = np.zeros((24, 30, 40), np.uint8)
    places = [(3, 4, 5), (12, 15, 9), (20, 25, 21), (8, 27, 36)]
    for value, place in enumerate(places, 1):
        points[place] = value
    affine = turned(9, origin=(-10, 4, 2))
    shape = tuple(int(n / s) for n, s in zip(points.shape, spacing, strict=True))
    new = turned(9, spacing, origin=(-10, 4, 2))
    found = points_to_grid(points, affine, Grid(shape, new))
    assert sorted(found[found > 0]) == [1, 2, 3, 4]
    for value, place in enumerate(places, 1):
        moved = (new @ [*np.argwhere(found == value)[0], 1])[:3]
        offset = np.linalg.solve(new[:3, :3], moved - (affine @ [*place, 1])[:3])
        assert np.abs(offset).max() <= 1


def test_points_at_the_edge_stay_inside():
    points = np.zeros((8, 8, 8), np.uint8)
    points[0, 0, 0], points[7, 7, 7] = 1, 2
    found = points_to_grid(points, np.eye(4), Grid((2, 2, 2), scaled((4, 4, 4), (1.5, 1.5, 1.5))))
    assert np.argwhere(found == 1).tolist() == [[0, 0, 0]]
    assert np.argwhere(found == 2).tolist() == [[1, 1, 1]]


def test_of_points_that_meet_the_highest_stays():
    points = np.zeros((8, 8, 8), np.uint8)
    points[0, 0, 0], points[0, 0, 1] = 9, 3
    found = points_to_grid(points, np.eye(4), Grid((2, 2, 2), scaled((4, 4, 4), (1.5, 1.5, 1.5))))
    assert found[0, 0, 0] == 9
    assert np.count_nonzero(found) == 1


def test_no_points_no_points():
    grid = Grid((3, 4, 5), np.eye(4))
    assert not points_to_grid(np.zeros((3, 3, 3), np.uint8), np.eye(4), grid).any()


def test_inverses(rng):
    for _ in range(100):
        matrix = rng.normal(size=(3, 3)) * rng.uniform(0.1, 5, 3)
        np.testing.assert_allclose(invert(matrix) @ matrix, np.eye(3), atol=1e-9)
    matrix = np.diag([0.8, -3, 0.1])[[2, 0, 1]]
    np.testing.assert_array_equal(invert(matrix), np.linalg.inv(matrix))


def test_frames_know_their_affine():
    affine = make_affine("PIR")
    frame = Frame.from_affine(affine)
    np.testing.assert_allclose(frame.affine, affine, atol=1e-12)
    index = frame.index([np.float64(x) for x in frame.place(3, 4, 5)])
    np.testing.assert_allclose(index, (3, 4, 5), atol=1e-9)


def test_left_singular_vectors_are_of_the_matrix_own_precision(rng):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        matrix = rng.normal(size=(3, 3)).astype(dtype)
        vectors = left_vectors(matrix)
        assert vectors.dtype == dtype
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=tolerance)
        expected = np.linalg.svd(matrix)[0]
        np.testing.assert_allclose(np.abs(vectors), np.abs(expected), atol=tolerance)


def test_labels_of_an_aligned_grid_keep_its_affine():
    affine = stored(scaled((1, 1, 1), (-31.7, 12.3, 99.9)))
    np.testing.assert_array_equal(affine_of_labels(affine, affine), affine)


def test_labels_of_an_oblique_grid_keep_its_affine_to_seven_digits(rng):
    changed = 0
    for _ in range(20):
        affine = stored(turned(rng.uniform(-40, 40), origin=rng.uniform(-90, 90, 3)))
        found = affine_of_labels(affine, affine)
        np.testing.assert_allclose(found, affine, rtol=0, atol=2e-7)
        np.testing.assert_array_equal(found[:3, 3], affine[:3, 3])
        changed += not np.array_equal(found, affine)
    assert changed


def test_labels_of_a_box_get_the_affine_of_the_grid():
    affine = stored(turned(25, origin=(3, 4, 5)))
    box = cropped_affine(affine, (7, 0, 2))
    np.testing.assert_allclose(box @ [0, 0, 0, 1], affine @ [7, 0, 2, 1], atol=1e-5)
    np.testing.assert_array_equal(affine_of_labels(box, affine), affine)


def test_the_files_voxel_size_decides_how_far_points_reach():
    points = np.zeros((9, 9, 12), np.uint8)
    points[4, 4, 4], points[4, 4, 7] = 1, 2
    near = points_to_grid(points, np.eye(4), Grid(points.shape, np.eye(4)))
    np.testing.assert_array_equal(near, points)
    # a header of a little more than 1 mm: the cubes get larger, and the second eats into the first
    far = points_to_grid(points, np.eye(4), Grid(points.shape, np.eye(4), (1, 1, 1.0001)))
    assert np.argwhere(far == 1).tolist() == [[4, 4, 3]]
    assert np.argwhere(far == 2).tolist() == [[4, 4, 7]]
