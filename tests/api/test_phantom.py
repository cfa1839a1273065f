"""The synthetic volume: reproducible, with the anatomy and contrast that it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from scipy import ndimage

from deepseg_lite.api import phantom as phantoms
from deepseg_lite.api.phantom import GRAY_MATTER, WHITE_MATTER, Phantom, make_phantom
from deepseg_lite.cli.group import phantom as phantom_command
from deepseg_lite.errors import OptionError

SMALL: dict[str, Any] = {"shape": (120, 110, 4)}


@pytest.fixture(scope="module", params=[0, 1, 2], ids="seed{}".format)
def phantom(request: pytest.FixtureRequest) -> Phantom:
    return make_phantom(request.param)


def _slices(mask: np.ndarray) -> list[np.ndarray]:
    return list(np.moveaxis(mask, 2, 0))


def test_same_arguments_give_the_same_voxels():
    first, second = make_phantom(5, **SMALL), make_phantom(5, **SMALL)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_the_command_line_draws_the_same_shape():
    (shape,) = (option for option in phantom_command.params if option.name == "shape")
    assert shape.default == phantoms.SHAPE


@pytest.mark.parametrize("seed", [0, 1])
def test_rounding_of_the_last_digits_changes_no_voxel(monkeypatch, seed: int):
    """Processors differ in the last digits; references are drawn anew on each of them."""
    image = make_phantom(seed).image
    scan = phantoms._scan

    def scan_another(signal, *rest):
        assert signal.dtype == np.float64
        return scan(signal * (1 + 1e-9), *rest)

    monkeypatch.setattr(phantoms, "_scan", scan_another)
    np.testing.assert_array_equal(make_phantom(seed).image, image)


def test_seed_changes_anatomy_and_noise():
    first, second = make_phantom(5, **SMALL), make_phantom(6, **SMALL)
    assert (first.image != second.image).mean() > 0.5
    assert (first.labels != second.labels).any()


def test_numpy_seed_is_as_good_as_pythons():
    np.testing.assert_array_equal(
        make_phantom(np.int64(5), **SMALL).image, make_phantom(5, **SMALL).image
    )


def test_arrays_have_the_promised_shapes_and_types(phantom: Phantom):
    assert phantom.image.shape == phantom.labels.shape == (256, 256, 12)
    assert phantom.image.dtype == np.float32
    assert phantom.labels.dtype == np.uint8
    assert phantom.affine.shape == (4, 4)
    assert phantom.affine.dtype == np.float64


def test_image_holds_whole_counts_of_a_scanner(phantom: Phantom):
    assert phantom.image.min() >= 0
    assert phantom.image.max() < 2**12
    np.testing.assert_array_equal(phantom.image, np.rint(phantom.image))


def test_affine_has_spacing_orientation_and_centre():
    affine = make_phantom(shape=(100, 130, 3), spacing=(0.7, 0.5, 4.0)).affine
    np.testing.assert_allclose(voxel_sizes(affine), (0.7, 0.5, 4.0))
    assert "".join(aff2axcodes(affine)) == "LAS"
    np.testing.assert_allclose(affine @ (49.5, 64.5, 1.0, 1.0), (0, 0, 0, 1), atol=1e-9)


def test_slices_are_oblique_and_axes_at_right_angles(phantom: Phantom):
    directions = phantom.affine[:3, :3] / voxel_sizes(phantom.affine)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    assert 0.05 < abs(directions[1, 2]) < 0.2


def test_every_slice_has_white_and_gray_matter(phantom: Phantom):
    assert set(np.unique(phantom.labels)) == {0, WHITE_MATTER, GRAY_MATTER}
    for labels in _slices(phantom.labels):
        assert (labels == WHITE_MATTER).any()
        assert (labels == GRAY_MATTER).any()


def test_cord_is_one_piece_without_holes_in_every_slice(phantom: Phantom):
    cord = phantom.labels > 0
    assert ndimage.label(cord)[1] == 1
    for mask in _slices(cord):
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)


def test_gray_matter_lies_inside_the_cord_and_is_one_piece(phantom: Phantom):
    gray, cord = phantom.labels == GRAY_MATTER, phantom.labels > 0
    for inner, outer in zip(_slices(gray), _slices(cord), strict=True):
        assert not (inner & ~ndimage.binary_erosion(outer)).any()
        assert ndimage.label(inner, np.ones((3, 3)))[1] == 1


def test_gray_matter_has_two_horns_on_each_side(phantom: Phantom):
    for gray in _slices(phantom.labels == GRAY_MATTER):
        rows = np.flatnonzero(gray.any(axis=0))
        behind, ahead = gray[:, rows[1]], gray[:, rows[-2]]
        assert ndimage.label(behind)[1] == ndimage.label(ahead)[1] == 2


def test_cord_has_the_size_of_a_cervical_cord(phantom: Phantom):
    pixel_mm2 = 0.6 * 0.6
    for labels in _slices(phantom.labels):
        cord_mm2 = (labels > 0).sum() * pixel_mm2
        assert 65 < cord_mm2 < 115
        assert 0.14 < (labels == GRAY_MATTER).sum() * pixel_mm2 / cord_mm2 < 0.26


def test_cord_stays_near_the_middle_and_moves_between_slices(phantom: Phantom):
    centres_mm = 0.6 * np.array(
        [np.argwhere(mask).mean(axis=0) for mask in _slices(phantom.labels)]
    )
    assert np.abs(centres_mm - 0.6 * 127.5).max() < 5
    assert np.ptp(centres_mm, axis=0).max() > 0.1
    assert np.abs(np.diff(centres_mm, axis=0)).max() < 1.5


def test_contrast_is_that_of_t2star(phantom: Phantom):
    cord = phantom.labels > 0
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)[..., None]
    white = phantom.image[(phantom.labels == WHITE_MATTER) & ndimage.binary_erosion(cord, disc)]
    gray = phantom.image[phantom.labels == GRAY_MATTER]
    fluid = phantom.image[ndimage.binary_dilation(cord, disc) & ~cord]
    corner = phantom.image[:10, :10]
    assert white.mean() * 1.05 < gray.mean() < white.mean() * 1.3
    assert fluid.mean() > gray.mean() * 1.2
    assert corner.mean() < white.mean() * 0.1


def test_noise_is_the_asked_for_fraction_of_white_matter():
    """In air, Rician noise has a mean square of twice the variance of a channel."""
    image = make_phantom(noise=0.1).image
    assert np.sqrt((image[:20, :20] ** 2).mean() / 2) == pytest.approx(60, rel=0.05)
    assert make_phantom(noise=0).image[:20, :20].max() == 0


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((256, 256, 1), (0.6, 0.6, 3.0)),
        ((64, 64, 3), (1.0, 1.0, 10.0)),
        ((600, 620, 1), (1.0, 1.0, 3.0)),
        ((130, 260, 30), (0.5, 0.25, 10.0)),
    ],
    ids=["one-slice", "coarse", "wide", "long-and-anisotropic"],
)
def test_other_grids_have_a_cord_in_every_slice(shape, spacing):
    phantom = make_phantom(shape=shape, spacing=spacing)
    assert phantom.image.shape == shape
    assert np.isfinite(phantom.image).all()
    assert all((labels == GRAY_MATTER).any() for labels in _slices(phantom.labels))
    assert ndimage.label(phantom.labels)[1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"seed is -1; .* at least 0"),
        ({"seed": 1.5}, r"seed is 1\.5; a whole number"),
        ({"shape": (256, 256)}, r"shape is \(256, 256\); three"),
        ({"shape": (256, 0, 12)}, r"shape is .*above 0"),
        ({"shape": (256.0, 256, 12)}, r"shape is .*whole numbers"),
        ({"spacing": (0.6, 0.6)}, r"spacing is \(0\.6, 0\.6\) mm"),
        ({"spacing": (0.6, 0.0, 3.0)}, r"spacing is .*above 0"),
        ({"spacing": (0.6, float("nan"), 3.0)}, r"spacing is .*above 0"),
        ({"spacing": (1.5, 1.5, 3.0)}, r"spacing is .*at most"),
        ({"shape": (64, 64, 12)}, r"spans 38\.4 x 38\.4 mm; 60 mm .* more voxels"),
        ({"noise": -0.1}, r"noise is -0\.1; a fraction"),
        ({"noise": float("nan")}, r"noise is nan; a fraction"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if type(value) is dict else "",
)
def test_bad_argument_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        make_phantom(**options)
