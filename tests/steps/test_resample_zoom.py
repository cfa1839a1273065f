"""Resampling from voxel centre to voxel centre."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine
from nibabel.affines import apply_affine
from scipy import ndimage

from deepseg_lite.steps.frame import reoriented_spacing, to_frame
from deepseg_lite.steps.interpolation import centre_matrix
from deepseg_lite.steps.resample import zoom
from deepseg_lite.volume import Volume


def _volume(rng, shape=(7, 11, 5), spacing=(2.0, 0.9, 3.3), channels=1):
    data = rng.normal(100, 30, (channels, *shape)).astype(np.float32)
    return Volume.from_array(data, np.diag([*spacing, 1]))


@pytest.mark.parametrize("spacing", [(1, 0.5, 2.0), (3.1, 2.0, 0.7), (2.0, 0.9, 3.3)])
def test_a_volume_is_what_scipy_zooms_with_quadratic_splines(rng, spacing):
    volume = _volume(rng, channels=2)
    zoomed, _ = zoom(volume, spacing)
    for found, channel in zip(zoomed.data, volume.data, strict=True):
        factors = [np.float32(old) / new for old, new in zip(volume.spacing, spacing, strict=True)]
        expected = ndimage.zoom(channel, factors, order=2)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-4)
    assert zoomed.data.dtype == np.float32
    assert zoomed.spacing == spacing


def test_an_axis_without_target_is_left_alone_slice_by_slice(rng):
    volume = _volume(rng)
    zoomed, _ = zoom(volume, (None, 0.6, 2.0))
    assert zoomed.shape[0] == volume.shape[0]
    assert zoomed.spacing == (volume.spacing[0], 0.6, 2.0)
    for found, image in zip(zoomed.data[0], volume.data[0], strict=True):
        expected = ndimage.zoom(image, (0.9 / 0.6, 3.3 / 2.0), order=2)
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-4)


def test_scores_come_back_linearly_onto_the_old_grid(rng):
    volume = _volume(rng)
    zoomed, record = zoom(volume, (1.5, 0.5, 1.0))
    scores = rng.random((2, *zoomed.shape), np.float32)
    back = record.undo(scores)
    assert back.shape == (2, *volume.shape)
    factors = np.divide(volume.shape, zoomed.shape)
    for found, score in zip(back, scores, strict=True):
        np.testing.assert_allclose(found, ndimage.zoom(score, factors, order=1), atol=1e-6)
    slabs = list(record.undo_slabs(scores))
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), back)


def test_outer_voxel_centres_stay_where_they_are():
    volume = Volume.from_array(np.zeros((4, 5, 6)), np.diag([2.0, 2, 2, 1]))
    zoomed, _ = zoom(volume, (1, 3, 0.7))
    corners = [np.subtract(each.shape, 1) for each in (volume, zoomed)]
    np.testing.assert_allclose(
        apply_affine(zoomed.affine, corners[1]), apply_affine(volume.affine, corners[0])
    )
    np.testing.assert_allclose(zoomed.affine[:3, 3], volume.affine[:3, 3])


@pytest.mark.parametrize(("size", "spacing", "expected"), [(25, 0.5, 12), (27, 0.5, 14)])
def test_halves_are_rounded_to_even(size, spacing, expected):
    volume = Volume.from_array(np.zeros((size, 2, 2)), np.diag([spacing, 1, 1, 1]))
    assert zoom(volume, (1, None, None))[0].shape[0] == expected


def test_voxel_sizes_count_in_single_precision():
    # 0.9 as a float32 is a little smaller, so 22.5 voxels are a little fewer.
    volume = Volume.from_array(np.zeros((45, 1, 1)), np.diag([0.9, 1, 1, 1]))
    assert zoom(volume, (0.6, None, None))[0].shape[0] == 67
    assert round(45 * 0.9 / 0.6) == 68


def test_the_same_spacing_changes_nothing(rng):
    volume = _volume(rng)
    zoomed, record = zoom(volume, volume.spacing)
    np.testing.assert_array_equal(zoomed.data, volume.data)
    np.testing.assert_array_equal(record.undo(zoomed.data), volume.data)


@pytest.mark.parametrize(("size", "new_size"), [(1, 4), (5, 1), (2, 9)])
def test_one_voxel_is_enough(size, new_size):
    matrix = centre_matrix(size, new_size, 1)
    assert matrix.shape == (new_size, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


@pytest.mark.parametrize("orientation", ["RAS", "LAI", "PIR"])
def test_voxel_sizes_are_those_of_a_file_that_nibabel_reoriented(orientation):
    affine = make_affine(orientation)
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine)
    image.header.set_zooms((0.7, 1.1, 2.5))
    image.header.set_sform(affine)
    stored = image.header.get_best_affine()  # in single precision
    x, y, z = (float(size) for size in image.header.get_zooms())
    volume = Volume(np.zeros((1, 4, 5, 6), np.float32), stored, (x, y, z))
    found, _ = to_frame(reoriented_spacing(volume, "RAS"), "RAS", "xyz")
    turned = nib.as_closest_canonical(nib.Nifti1Image(image.dataobj, stored, image.header))
    assert found.spacing == tuple(float(size) for size in turned.header.get_zooms())
