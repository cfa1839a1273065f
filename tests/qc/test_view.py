"""Views: whatever the orientation of a file, a rater sees the same."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine
from helpers.views import cord, view_of

from deepseg_lite.qc.pictures import AXIAL_SIDES, axial_picture, sagittal_picture
from deepseg_lite.qc.sampling import centre_line
from deepseg_lite.qc.view import ORIENTATION, Shown, View, make_view

AFFINE = make_affine("RAS", (1.0, 1.0, 3.0), (0.0, 0.0, 0.0))


def turned(data: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an array of RAS in another orientation, and its affine."""
    image = nib.Nifti1Image(data, AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes)
    )
    image = image.as_reoriented(turn)
    return np.asanyarray(image.dataobj), image.affine


ORIENTATIONS = [
    "".join(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)
]


def seen(data: np.ndarray, labels: np.ndarray, codes: str) -> View:
    image, affine = turned(data, codes)
    mask, _ = turned(labels, codes)
    return make_view([image], [Shown(mask, {"sc": (1,)})], affine, 3.0)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_view_is_the_same_from_every_orientation(codes):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(21, 17, 9)).astype(np.float32)
    labels = np.zeros(data.shape, np.uint8)
    labels[8:12, 6:10, 2:8] = 1
    expected, found = seen(data, labels, ORIENTATION), seen(data, labels, codes)
    np.testing.assert_array_equal(found.channels[0], expected.channels[0])
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.spacing == pytest.approx((3.0, 1.0, 1.0))
    assert axial_picture(found).backgrounds == axial_picture(expected).backgrounds
    assert sagittal_picture(found).filled == sagittal_picture(expected).filled
    axis = next(i for i, code in enumerate(codes) if code in "SI")
    stored = np.moveaxis(turned(data, codes)[0], axis, 0)
    for shown, index in zip(found.channels[0], found.slices, strict=True):
        assert sorted(shown.ravel()) == sorted(stored[index].ravel())


def test_first_slice_row_and_column_are_superior_anterior_and_left():
    data = np.zeros((4, 5, 6), np.float32)  # R, A, S
    data[0, 4, 5] = 1.0  # left, anterior, superior
    view = make_view([data], [Shown(np.zeros(data.shape, np.uint8), {"sc": (1,)})], AFFINE, 3.0)
    assert view.channels[0][0, 0, 0] == 1.0
    assert AXIAL_SIDES == "APLR"


def test_structures_have_their_volume_and_the_smaller_lies_on_top():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[:, 1:5, 1:5] = 1
    labels[:, 2:4, 2:4] = 2
    view = view_of(labels, {"sc": (1, 2), "gm": (2,), "lesion": (3,)}, (2.0, 0.5, 0.5))
    cord_, gray = view.structures
    assert (cord_.name, cord_.mm3, gray.name, gray.mm3) == ("sc", 32.0, "gm", 8.0)
    assert dict(view.missing) == {"lesion": 3}
    assert (view.labels == gray.number).sum() == 16
    assert cord_.part.mask.sum() == 64


def test_numbers_that_no_structure_has_take_no_memory():
    """As many boxes were made as the largest number of a mask by hand, 48 bytes each."""
    labels = np.zeros((4, 6, 6), np.int32)
    labels[:, 1:5, 1:5] = 1
    labels[0, 0, 0] = 2**31 - 1
    view = make_view([labels], [Shown(labels, {"sc": (1,)})], AFFINE, 3.0)
    assert [(each.name, each.mm3) for each in view.structures] == [("sc", 192.0)]


def test_probabilities_count_above_one_half_and_a_series_is_averaged():
    soft = np.full((2, 3, 3), 0.5, np.float32)
    soft[0, 0, 0] = 0.51
    series = np.stack([np.zeros((2, 3, 3)), np.full((2, 3, 3), 4.0)], axis=-1)
    view = make_view([series], [Shown(soft, {"sc": (1,)})], AFFINE, 3.0)
    assert view.structures[0].mm3 == 3.0
    assert np.all(view.channels[0] == 2.0)


def test_the_centre_line_goes_through_slices_without_a_structure():
    labels = np.zeros((5, 9, 9), np.uint8)
    labels[0, 2, 2] = labels[4, 6, 4] = 1
    np.testing.assert_allclose(centre_line(labels), [[2, 2], [3, 2.5], [4, 3], [5, 3.5], [6, 4]])
    np.testing.assert_allclose(centre_line(labels * 0)[0], [4, 4])


def test_two_axes_of_one_voxel_can_be_seen():
    view = view_of(cord((1, 1, 12)), {"sc": (1,)}, (5.0, 1.0, 1.0))
    assert axial_picture(view).facts["slices"] == [0]
    assert sagittal_picture(view).facts["size"][0] >= 1
