"""Boxes: what is cut, what is padded, and that all of it comes back."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.affines import apply_affine

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.crop import crop_to_foreground
from deepseg_lite.steps.pad import field_of_view, pad_or_crop, pad_to_multiple, pad_to_shape
from deepseg_lite.volume import Volume

FOREGROUND = dict(
    channels=None,
    above=0.0,
    margin=(0, 0, 0),
    inside=False,
    multiple=(1, 1, 1),
    mode="constant",
    value=0.0,
)


def line(values):
    """Return a volume that is a line along x."""
    return Volume.from_array(np.reshape(values, (-1, 1, 1)), np.diag([2.0, 3.0, 4.0, 1.0]))


@pytest.mark.parametrize(
    ("mode", "at_end", "expected"),
    [
        ("constant", False, [9, 1, 2, 3, 9, 9]),
        ("constant", True, [1, 2, 3, 9, 9, 9]),
        ("edge", False, [1, 1, 2, 3, 3, 3]),
        ("reflect", False, [2, 1, 2, 3, 2, 1]),
        ("symmetric", False, [1, 1, 2, 3, 3, 2]),
        ("wrap", False, [3, 1, 2, 3, 1, 2]),
    ],
)
def test_padding_puts_an_odd_voxel_at_the_end(mode, at_end, expected):
    found, record = pad_to_shape(line([1, 2, 3]), (6, None, 1), at_end, mode, 9.0)
    np.testing.assert_array_equal(found.data.ravel(), expected)
    np.testing.assert_array_equal(record.undo(found.data).ravel(), [1, 2, 3])


@pytest.mark.parametrize(("size", "of", "expected"), [(5, 4, 8), (8, 4, 8), (3, 1, 3), (1, 32, 32)])
def test_multiples(size, of, expected):
    found, record = pad_to_multiple(line(np.ones(size)), (of, 1, 1), False, "constant", 0.0)
    assert found.shape == (expected, 1, 1)
    assert (record is None) == (size == expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(2, [2, 3]), (3, [2, 3, 4]), (5, [1, 2, 3, 4, 5]), (6, [1, 2, 3, 4, 5, 0])],
)
def test_crops_are_around_the_middle(size, expected):
    found, record = pad_or_crop(line([1, 2, 3, 4, 5]), (size, 1, None), False, "constant", 0.0)
    np.testing.assert_array_equal(found.data.ravel(), expected)
    if record is not None:
        kept = [value if value in expected else 0 for value in range(1, 6)]
        np.testing.assert_array_equal(record.undo(found.data).ravel(), kept)


def test_edges_are_those_of_the_cropped_image(rng):
    volume = Volume.from_array(rng.random((8, 3, 1)), np.eye(4))
    found, _ = pad_or_crop(volume, (4, 5, 1), False, "edge", 0.0)
    np.testing.assert_array_equal(found.data[0, :, 0], volume.data[0, 2:6, 0])
    np.testing.assert_array_equal(found.data[0, :, -1], volume.data[0, 2:6, -1])


@pytest.mark.parametrize(
    ("changes", "start", "size"),
    [
        ({}, 2, 3),
        ({"above": 1.5}, 3, 1),
        ({"margin": (1, 0, 0)}, 1, 5),
        ({"margin": (4, 0, 0)}, -2, 11),
        ({"margin": (4, 0, 0), "inside": True}, 0, 7),
        ({"multiple": (4, 1, 1)}, 2, 4),
        ({"multiple": (8, 1, 1)}, 0, 8),
        ({"channels": [1]}, 0, 1),
    ],
    ids=str,
)
def test_foreground(changes, start, size):
    data = np.zeros((2, 7, 1, 1))
    data[0, 2:5, 0, 0] = [1, 2, 1]
    data[1, 0] = 0.5 if "channels" in changes else -1
    volume = Volume.from_array(data, np.diag([2.0, 3.0, 4.0, 1.0]))
    found, record = crop_to_foreground(volume, **(FOREGROUND | changes))
    assert found.shape == (size, 1, 1)
    assert (record.start if record else (0, 0, 0)) == (start, 0, 0)
    np.testing.assert_allclose(found.affine[:3, 3], apply_affine(volume.affine, (start, 0, 0)))


def test_an_image_without_foreground_is_refused():
    with pytest.raises(ImageError, match="no voxel of the image is above 3"):
        crop_to_foreground(line([1, 2, 3]), **(FOREGROUND | {"above": 3.0}))


def test_undo_keeps_leading_axes_and_types(rng):
    volume = Volume.from_array(rng.random((6, 5, 4)), np.eye(4))
    found, record = pad_or_crop(volume, (4, 9, 4), True, "constant", 0.0)
    labels = rng.integers(1, 9, (2, 3, *found.shape)).astype(np.uint16)
    back = record.undo(labels)
    assert back.shape == (2, 3, 6, 5, 4)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back[..., 1:5, :, :], labels[..., :5, :])
    assert not back[..., [0, 5], :, :].any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, [2, 3]),
        (3, [2, 3, 4]),
        (6, [1, 1, 2, 3, 4, 5]),
        (7, [1, 1, 2, 3, 4, 5, 5]),
        (12, [4, 3, 2, 1, 1, 2, 3, 4, 5, 5, 4, 3]),
    ],
)
def test_a_field_of_view_keeps_the_voxel_at_half_of_its_size(size, expected):
    found, record = field_of_view(line([1, 2, 3, 4, 5]), (size, None, None), "symmetric", 0.0)
    assert found.data.ravel().tolist() == expected
    assert found.data.ravel()[size // 2] == 3
    assert found.data.flags.c_contiguous
    kept = [value if value in expected else 0 for value in range(1, 6)]
    assert record.undo(found.data).ravel().tolist() == kept


@pytest.mark.parametrize(
    ("mm", "expected"), [(4.0, [2, 3, 4]), (-9.0, [1, 2, 3]), (90.0, [4, 5, 6]), (5.1, [3, 4, 5])]
)
def test_a_field_of_view_follows_a_point_as_far_as_the_image_goes(mm, expected):
    volume = line([1, 2, 3, 4, 5, 6])
    found, record = field_of_view(volume, (3, 4, None), "symmetric", 0.0, center=(mm, 50.0, 50.0))
    assert found.data[0, :, 0, 0].tolist() == expected
    assert found.shape == (3, 4, 1)  # an axis that is padded stays in the middle
    np.testing.assert_allclose(found.affine[0, 3], 2.0 * (expected[0] - 1))
    assert record.undo(found.data).shape == (1, 6, 1, 1)
