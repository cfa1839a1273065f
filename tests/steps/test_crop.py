"""Windows around the centre or around an earlier result, which may reach beyond the volume."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.affines import apply_affine

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.box import cut
from deepseg_lite.steps.crop import center_crop, crop_around_prior, crop_to_prior, prior_box
from deepseg_lite.volume import Volume


def _numbered(shape):
    data = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    return Volume.from_array(data, np.diag([1.0, 2, 3, 1]))


@pytest.mark.parametrize(
    ("size", "start"), [(95, 0), (97, 0), (99, 2), (101, 2), (93, -2), (91, -2)]
)
def test_half_of_the_difference_is_rounded_to_even(size, start):
    _, record = center_crop(_numbered((size, 1, 1)), (96, None, None))
    assert record.start == (start, 0, 0)


@pytest.mark.parametrize("size", [(3, 9, None), (8, 2, 5), (None, 1, 12)])
def test_what_is_inside_comes_back_and_the_rest_is_zero(size):
    volume = _numbered((6, 5, 7))
    cropped, record = center_crop(volume, size)
    expected = [old if new is None else new for old, new in zip((6, 5, 7), size, strict=True)]
    assert cropped.shape == tuple(expected)
    back = record.undo(cropped.data)
    assert back.shape == volume.data.shape
    kept = back != 0
    np.testing.assert_array_equal(back[kept], volume.data[kept])
    assert kept.sum() == np.prod(np.minimum(expected, (6, 5, 7)))


def test_voxels_stay_where_they_are_in_space():
    volume = _numbered((6, 5, 7))
    cropped, _ = cut(volume, (2, -1, 3), (3, 4, 9))
    assert cropped.data[0, 1, 2, 3] == volume.data[0, 3, 1, 6]
    np.testing.assert_allclose(
        apply_affine(cropped.affine, (1, 2, 3)), apply_affine(volume.affine, (3, 1, 6))
    )
    assert not cropped.data[0, :, 0].any()
    assert not cropped.data[0, :, :, 4:].any()


BOX = (slice(10, 300), slice(20, 82), slice(3, 10))
MODELS = {
    "tumor": ([1, 1, 1], [256, 128, 16], [128, 64, 8], [9, 18, 5], [384, 128, 16]),
    "edema": ([1.2, 1.2, 1], [128, 128, 32], [64, 64, 32], [0, 13, 5], [320, 128, 32]),
}


@pytest.mark.parametrize("model", MODELS)
def test_boxes_are_those_of_the_original(model):
    factor, patch, stride, start, size = MODELS[model]
    prior = Volume.from_array(np.zeros((320, 300, 17)), np.diag([0.9, 0.9, 3.3, 1]))
    prior.data[0][BOX] = 1
    volume = Volume(np.ones((1, 288, 270, 28), np.float32), np.eye(4), (1.0, 1.0, 2.0))
    cropped, record = crop_to_prior(
        volume, prior, safety_factor=factor, patch_size=patch, stride=stride
    )
    assert record.start == tuple(start)
    assert cropped.shape == tuple(size)
    inside = [min(a + n, old) - a for a, n, old in zip(start, size, volume.shape, strict=True)]
    assert cropped.data.sum() == np.prod(inside)


def test_the_first_component_counts_not_the_largest():
    mask = np.zeros((9, 9, 9))
    mask[0, 7, 7] = mask[4:8, 1:5, 1:5] = 1
    start, size = prior_box(mask, (1, 1, 1), (1, 1, 1), (2, 2, 2), (1, 1, 1))
    assert (start, size) == ([0, 7, 7], [2, 2, 2])


def test_an_empty_prior_is_refused():
    with pytest.raises(ImageError, match="found nothing"):
        prior_box(np.zeros((3, 3, 3)), (1, 1, 1), (1, 1, 1), (2, 2, 2), (1, 1, 1))


@pytest.mark.parametrize(
    ("margin", "start", "size"),
    [
        ((0, 0, 0), (3, 2, 4), (2, 1, 3)),
        ((1.5, None, 3), (1, 0, 3), (6, 9, 5)),
        ((100, 2, None), (0, 1, 0), (8, 3, 9)),
    ],
)
def test_the_box_around_a_prior_has_a_margin_and_ends_with_the_image(margin, start, size):
    volume = _numbered((8, 9, 9))  # voxels of 1, 2 and 3 mm
    prior = Volume(np.zeros((1, 8, 9, 9), np.uint8), volume.affine, volume.spacing)
    prior.data[0, 3, 2, 4] = 1
    prior.data[0, 4, 2, 6] = 2
    cropped, record = crop_around_prior(volume, prior, margin_mm=margin)
    assert (record.start, cropped.shape) == (start, size)
    box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(cropped.data[0], volume.data[0][box])
    assert record.undo(cropped.data).sum() == cropped.data.sum()


def test_around_an_empty_prior_is_everywhere():
    volume = _numbered((8, 9, 9))
    prior = Volume(np.zeros((1, 8, 9, 9), np.uint8), volume.affine, volume.spacing)
    cropped, record = crop_around_prior(volume, prior, margin_mm=(1, 1, 1))
    assert cropped is volume
    assert record is None
