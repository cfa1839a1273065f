"""Boxes around what an earlier model found."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.prior import crop_around_prior, crop_to_prior, prior_box
from deepseg_lite.volume import Volume

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


def _numbered() -> Volume:
    """Return 8 x 9 x 9 voxels of 1 x 2 x 3 mm, each of another value."""
    data = np.arange(1, 649, dtype=np.float32).reshape(8, 9, 9)
    return Volume.from_array(data, np.diag([1.0, 2, 3, 1]))


@pytest.mark.parametrize(
    ("margin", "start", "size"),
    [
        ((0, 0, 0), (3, 2, 4), (2, 1, 3)),
        ((1.5, None, 3), (1, 0, 3), (6, 9, 5)),
        ((100, 2, None), (0, 1, 0), (8, 3, 9)),
    ],
)
def test_the_box_around_a_prior_has_a_margin_and_ends_with_the_image(margin, start, size):
    volume = _numbered()
    prior = Volume(np.zeros((1, 8, 9, 9), np.uint8), volume.affine, volume.spacing)
    prior.data[0, 3, 2, 4] = 1
    prior.data[0, 4, 2, 6] = 2
    cropped, record = crop_around_prior(volume, prior, margin_mm=margin)
    assert (record.start, cropped.shape) == (start, size)
    box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(cropped.data[0], volume.data[0][box])
    assert record.undo(cropped.data).sum() == cropped.data.sum()


def test_around_an_empty_prior_is_everywhere():
    volume = _numbered()
    prior = Volume(np.zeros((1, 8, 9, 9), np.uint8), volume.affine, volume.spacing)
    cropped, record = crop_around_prior(volume, prior, margin_mm=(1, 1, 1))
    assert cropped is volume
    assert record is None
