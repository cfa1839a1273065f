"""Boxes of voxels: padded, changed, cut out, and what they cut through."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import ORIENTATIONS, make_affine
from nibabel.affines import apply_affine

from deepseg_lite.errors import OptionError
from deepseg_lite.steps.box import Box, box_mask, crop_to_box, cut
from deepseg_lite.volume import Volume
from deepseg_lite.workflows.cord.faces import (
    header_spacing,
    override_faces,
    pad_box,
    truncated_faces,
)

SHAPE = (20, 30, 40)
BOX = Box((5, 10, 15), (8, 20, 30))
NO_PADDING = dict.fromkeys(("superior", "inferior", "left", "right", "anterior", "posterior"), 0.0)
DIRECTIONS = {
    "right": (1, 0, 0), "left": (-1, 0, 0), "anterior": (0, 1, 0), "posterior": (0, -1, 0),
    "superior": (0, 0, 1), "inferior": (0, 0, -1),
}  # fmt: skip


def _volume(orientation: str = "RAS", spacing: tuple[float, float, float] = (1, 1, 1)) -> Volume:
    affine = make_affine(orientation, spacing, (0, 0, 0))
    return Volume.from_array(np.arange(np.prod(SHAPE)).reshape(SHAPE), affine)


def test_faces_are_inside_the_box():
    assert BOX.faces == {"xmin": 5, "xmax": 7, "ymin": 10, "ymax": 19, "zmin": 15, "zmax": 29}
    assert Box.whole(SHAPE).faces["zmax"] == 39


@pytest.mark.parametrize(
    ("stop", "empty"), [((8, 20, 30), False), ((5, 20, 30), True), ((8, 20, 14), True)]
)
def test_a_box_without_voxels_says_so(stop, empty):
    assert Box(BOX.start, stop).is_empty == empty


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_padding_goes_to_its_side_of_the_body(orientation):
    volume = _volume(orientation)
    for side, direction in DIRECTIONS.items():
        padded = pad_box(BOX, {**NO_PADDING, side: 3.0}, volume)
        grown = box_mask(padded, SHAPE) - box_mask(BOX, SHAPE)
        assert grown.sum() == 3 * box_mask(BOX, SHAPE).sum() / _extent(volume, direction)
        towards = _middle(volume, grown) - _middle(volume, box_mask(BOX, SHAPE))
        assert direction @ towards == pytest.approx(np.linalg.norm(towards))
        assert direction @ towards > 0


def _extent(volume: Volume, direction: tuple[int, int, int]) -> int:
    """Return how many voxels the box has along a direction of the body."""
    axis = int(np.argmax(np.abs(np.linalg.inv(volume.affine)[:3, :3] @ direction)))
    return BOX.stop[axis] - BOX.start[axis]


def _middle(volume: Volume, mask: np.ndarray) -> np.ndarray:
    return apply_affine(volume.affine, np.argwhere(mask)).mean(axis=0)


def test_padding_is_rounded_up_to_voxels_and_stops_at_the_rim():
    volume = _volume("RAS", (0.8, 1, 4))
    padded = pad_box(BOX, {**NO_PADDING, "left": 0.9, "superior": 4.1, "inferior": 900}, volume)
    assert padded == Box((3, 10, 0), (8, 20, 32))


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "SPL"])
def test_spacing_is_rounded_as_in_a_header(orientation):
    """21 mm are 30 voxels of 0.7 mm, and 31 of the float32 next to it."""
    volume = _volume(orientation, (0.7, 0.7, 0.7))
    assert header_spacing(volume) == (float(np.float32(0.7)),) * 3
    whole = _volume(orientation, (0.7, 0.7, 0.7))
    far = Box((0, 0, 38), (1, 1, 39))
    padding = dict.fromkeys(NO_PADDING, 21.0)
    assert pad_box(far, padding, whole).start[2] == 7


def test_single_faces_are_overridden():
    found = override_faces(BOX, {"xmin": 0, "zmax": 39}, SHAPE)
    assert found == Box((0, 10, 15), (8, 20, 40))
    assert override_faces(Box.whole(SHAPE), BOX.faces, SHAPE) == BOX


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        ({"xmin": 8}, "xmin 8 above xmax 7"),
        ({"ymax": 9}, "ymin 10 above ymax 9"),
        ({"zmax": 40}, "zmax of the box is 40; this axis of the image has the voxels 0 to 39"),
        ({"xmin": -1}, "xmin of the box is -1"),
    ],
    ids=["above", "below", "beyond", "negative"],
)
def test_faces_that_leave_no_box_are_refused(faces, message):
    with pytest.raises(OptionError, match=message):
        override_faces(BOX, faces, SHAPE)


def test_a_crop_keeps_its_place_in_space_and_comes_back():
    volume = _volume("PSR", (0.5, 2, 3))
    cropped, record = crop_to_box(volume, BOX)
    assert cropped.shape == (3, 10, 15)
    assert cropped.spacing == volume.spacing
    np.testing.assert_allclose(
        apply_affine(cropped.affine, (1, 2, 3)), apply_affine(volume.affine, (6, 12, 18))
    )
    np.testing.assert_array_equal(record.undo(cropped.data), volume.data * box_mask(BOX, SHAPE))


@pytest.mark.parametrize(
    ("voxel", "faces"),
    [
        ((5, 12, 20), ["xmin"]),
        ((7, 12, 20), ["xmax"]),
        ((6, 19, 29), ["ymax", "zmax"]),
        ((5, 10, 15), ["xmin", "ymin", "zmin"]),
        ((6, 12, 20), []),
    ],
    ids=str,
)
def test_results_at_a_face_are_told(voxel, faces):
    labels = np.zeros(SHAPE, np.uint8)
    labels[voxel] = 2
    assert truncated_faces(labels, BOX) == faces


def test_the_rim_of_the_image_truncates_nothing():
    assert truncated_faces(np.ones(SHAPE, np.uint8), Box.whole(SHAPE)) == []
    half = Box((0, 0, 0), (10, 30, 40))
    assert truncated_faces(box_mask(half, SHAPE), half) == ["xmax"]


@pytest.mark.parametrize("start", [(-2, 1, 0), (4, -5, 2), (-9, 0, 0), (6, 0, 0), (0, 0, 0)])
@pytest.mark.parametrize("size", [(3, 4, 2), (5, 5, 5), (9, 9, 9)])
def test_a_box_beyond_the_edge_is_padded_and_put_back(start, size, rng):
    """What lies inside both comes back; the rest is the padding there, and zeros here."""
    data = rng.uniform(1, 2, (2, 5, 5, 5)).astype(np.float32)
    volume = Volume.from_array(data, make_affine("LPS"))
    box, record = cut(volume, start, size, "constant", -1.0)
    assert box.shape == size
    index = np.stack(np.meshgrid(*map(range, size), indexing="ij"), -1) + start
    inside = ((index >= 0) & (index < 5)).all(-1)
    assert (box.data[:, ~inside] == -1).all()
    np.testing.assert_array_equal(box.data[:, inside], data[(slice(None), *index[inside].T)])
    np.testing.assert_allclose(box.affine[:3, 3], apply_affine(volume.affine, start))
    if record is None:
        assert (start, size) == ((0, 0, 0), (5, 5, 5))
        return
    back = record.undo(box.data)
    expected = np.zeros_like(data)
    expected[(slice(None), *index[inside].T)] = data[(slice(None), *index[inside].T)]
    np.testing.assert_array_equal(back, expected)
