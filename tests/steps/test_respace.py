"""Resampling by the affine, on images whose values between voxels are known."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps.grid_sample import Sampling, pull
from deepseg_lite.steps.respace import respace
from deepseg_lite.volume import Volume

LINEAR = {"method": "linear", "order": 1, "padding": "border", "align_corners": False}
SPLINE = {"method": "spline", "order": 3, "padding": "nearest", "align_corners": False}
NEAREST = {"method": "nearest", "order": 0, "padding": "border", "align_corners": False}


def ramp(shape, affine):
    """Return a volume whose value is its position along x in mm."""
    x = np.einsum("i,i...->...", affine[0, :3], np.indices(shape)) + affine[0, 3]
    return Volume.from_array(x, affine)


@pytest.mark.parametrize("sampling", [LINEAR, SPLINE], ids=["linear", "spline"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["own axes", "world axes"])
def test_values_stay_where_they_are_in_the_world(sampling, diagonal):
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = [10, -5, 7]
    volume = ramp((11, 9, 8), affine)
    found, record = respace(volume, [1.0, 2.0, None], diagonal, sampling, sampling)
    assert found.shape == (21, 5, 8)
    assert found.spacing == pytest.approx((1, 2, 3))
    # A spline bends at the border, where the image is continued by its last voxel.
    inner = slice(None) if sampling is LINEAR else slice(8, -8)
    expected = ramp(found.shape, found.affine).data[0]
    np.testing.assert_allclose(found.data[0, inner], expected[inner], atol=0.02)
    assert record is not None
    assert record.undo(found.data).shape == volume.data.shape


def test_the_first_voxel_stays_in_place_and_the_shape_is_rounded():
    volume = Volume.from_array(np.arange(10.0).reshape(10, 1, 1), np.diag([1.0, 1, 1, 1]))
    found, _ = respace(volume, [2.5, 1, 1], False, LINEAR, LINEAR)
    # 9 mm from the first to the last centre: 3.6 steps and the first voxel make 4.6.
    assert found.shape == (5, 1, 1)
    np.testing.assert_allclose(found.data.ravel(), [0, 2.5, 5, 7.5, 9])
    np.testing.assert_array_equal(found.affine[:3, 3], 0)


def test_a_volume_of_the_right_spacing_is_left_alone():
    volume = Volume.from_array(np.ones((3, 4, 5)), np.diag([1.0004, 0.9995, 3.0, 1]))
    found, record = respace(volume, [1.0, 1.0, None], False, LINEAR, LINEAR)
    assert found is volume
    assert record is None


def test_oblique_volumes_keep_their_rotation_and_lose_their_shear():
    affine = np.eye(4)
    affine[:3, :3] = [[0.8, -0.6, 0.1], [0.6, 0.8, 0], [0, 0, 2.0]]
    volume = Volume.from_array(np.random.default_rng(1).random((6, 7, 8)), affine)
    found, _ = respace(volume, [0.5, 0.5, 1.0], False, LINEAR, LINEAR)
    columns = found.affine[:3, :3] / found.spacing
    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(columns[:, 0], [0.8, 0.6, 0], atol=1e-12)


def test_scores_come_back_map_by_map():
    rng = np.random.default_rng(2)
    volume = Volume.from_array(rng.random((4, 5, 6)), np.diag([2.0, 2, 2, 1]))
    found, record = respace(volume, [1.0, 1.0, 1.0], False, LINEAR, NEAREST)
    scores = rng.random((2, 3, *found.shape)).astype(np.float32)
    back = record.undo(scores)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, scores[..., ::2, ::2, ::2])


@pytest.mark.parametrize(
    ("padding", "outside"),
    [
        ("zeros", [0, 0, 1, 3, 3, 0]),
        ("border", [1, 1, 1, 3, 3, 3]),
        ("reflection", [2, 1, 1, 3, 3, 2]),
    ],
)
def test_what_is_outside_the_image(padding, outside):
    line = np.array([1.0, 2, 3]).reshape(1, 3, 1, 1)
    for index, wanted in zip([-2, -1, 0, 2, 2.25, 4], outside, strict=True):
        matrix = np.eye(4)
        matrix[0, 3] = index
        found = pull(line, matrix, (1, 1, 1), Sampling("nearest", 0, padding, False))
        assert found.item() == wanted


def test_nearest_neighbours_at_half_way_are_even_ones():
    line = np.arange(8.0).reshape(1, 8, 1, 1)
    matrix = np.diag([0.5, 1, 1, 1])
    found = pull(line, matrix, (16, 1, 1), Sampling("nearest", 0, "border", True)).ravel()
    near = np.arange(16) / 2
    assert np.abs(found - near).max() == 0.5
    np.testing.assert_array_equal(found[::2], np.arange(8))


TURN = np.array([[1, 1e-9, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Too little to be seen, and enough for places to be worked out voxel by voxel."""


@pytest.mark.parametrize("turn", [np.eye(4), TURN], ids=["straight", "turned"])
def test_slabs_do_not_show(turn):
    rng = np.random.default_rng(3)
    image, matrix = rng.random((2, 9, 8, 7)), turn @ np.diag([0.6, 0.7, 0.9, 1])
    whole = pull(image, matrix, (14, 11, 7), Sampling("linear", 1, "zeros", False))
    slabs = pull(image, matrix, (14, 11, 7), Sampling("linear", 1, "zeros", False), slab_voxels=1)
    np.testing.assert_array_equal(slabs, whole)


@pytest.mark.parametrize("align", [False, True], ids=["edges", "centres"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("method", "order"), [("linear", 1), ("nearest", 0)])
def test_axes_one_by_one_give_what_all_together_give(method, order, padding, align):
    rng, sampling = np.random.default_rng(5), Sampling(method, order, padding, align)
    for _ in range(10):
        image = rng.normal(size=(2, *rng.integers(1, 9, 3))).astype(np.float32)
        matrix = np.diag([*rng.uniform(-2, 2, 3), 1])
        matrix[:3, 3] = rng.uniform(-3, 9, 3)
        shape = rng.integers(1, 12, 3)
        straight = pull(image, matrix, shape, sampling)
        np.testing.assert_allclose(straight, pull(image, TURN @ matrix, shape, sampling), atol=1e-6)


def test_a_hole_in_an_image_stays_where_it_is():
    image = np.ones((1, 9, 8, 7), np.float32)
    image[0, 4, 4, 3] = np.nan
    found = pull(
        image, np.diag([0.5, 0.5, 0.5, 1]), (18, 16, 14), Sampling("linear", 1, "border", 0)
    )
    assert 0 < np.isnan(found).sum() <= 4**3
