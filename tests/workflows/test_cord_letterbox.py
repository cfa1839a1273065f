"""Pictures for detectors: resized as OpenCV does it, padded, and boxes taken back."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.workflows.cord.letterbox import (
    PAD_VALUE,
    letterbox,
    letterbox_centred,
    resize_bilinear,
    to_batch,
    undo_letterbox,
)

PICTURE = ((np.arange(12) * 89) % 256).astype(np.uint8).reshape(3, 4, 1)
# What cv2.resize (OpenCV 5.0.0) makes of PICTURE.
LARGER = [
    [0, 32, 83, 133, 166, 70, 11],
    [40, 72, 123, 122, 111, 74, 51],
    [100, 132, 183, 106, 28, 79, 111],
    [160, 137, 100, 89, 88, 139, 171],
    [200, 140, 45, 77, 128, 179, 211],
]
SMALLER = [[40, 126, 53], [158, 84, 171]]
SIZES = [(53, 211), (211, 53), (320, 320), (700, 90), (1, 40), (1, 700), (161, 160)]


def _random(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize("expected", [LARGER, SMALLER], ids=["larger", "smaller"])
def test_resizing_is_opencvs(expected):
    found = resize_bilinear(PICTURE, len(expected), len(expected[0]))
    assert found.dtype == np.uint8
    assert found[..., 0].tolist() == expected


@pytest.mark.parametrize("value", [0, 1, 113, 255])
def test_a_uniform_picture_stays_uniform(value):
    found = resize_bilinear(np.full((7, 5, 3), value, np.uint8), 31, 23)
    assert (found == value).all()


def test_colours_do_not_mix():
    picture = _random((9, 8))
    found = resize_bilinear(picture, 20, 5)
    np.testing.assert_array_equal(found[..., 1:2], resize_bilinear(picture[..., 1:2], 20, 5))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_minimum_rectangle_is_320_long_and_a_multiple_of_32_wide(size):
    padded = letterbox(_random(size), 320, 32)
    assert max(padded.shape[:2]) == 320
    assert min(padded.shape[:2]) % 32 == 0
    assert min(padded.shape[:2]) - 320 * min(size) / max(size) < 32


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "make", [lambda p: letterbox(p, 320, None), lambda p: letterbox_centred(p, 320)]
)
def test_the_square_letterboxes_are_square(size, make):
    assert make(_random(size)).shape == (320, 320, 3)


def test_padding_is_gray_and_the_odd_pixel_goes_to_the_end():
    picture = np.full((320, 283, 3), 7, np.uint8)
    for padded, before in (
        (letterbox(picture, 320, 32), 2),  # to 288, and 320 - 283 is 37 of 32
        (letterbox(picture, 320, None), 18),
        (letterbox_centred(picture, 320), 18),
    ):
        columns = padded[0, :, 0]
        assert np.flatnonzero(columns == 7).tolist() == list(range(before, before + 283))
        assert (columns[columns != 7] == PAD_VALUE).all()


@pytest.mark.parametrize("stride", [32, None])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_whole_picture_comes_back_as_a_box(size, stride):
    picture = np.full((*size, 3), 200, np.uint8)
    padded = letterbox(picture, 320, stride)
    rows, columns = (np.flatnonzero((padded[..., 0] == 200).any(axis)) for axis in (1, 0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    found = undo_letterbox(box, size, padded.shape[:2])
    np.testing.assert_allclose(found, [0, 0, size[1], size[0]], atol=1e-4)


def test_boxes_are_clipped_to_the_picture_and_their_array_is_left_alone():
    boxes = np.array([[-50, -60, 900, 800], [400, 0, 500, 10]], np.float32)
    before = boxes.copy()
    found = undo_letterbox(boxes, (160, 320), (160, 320))
    np.testing.assert_array_equal(found, [[0, 0, 320, 160], [320, 0, 320, 10]])
    np.testing.assert_array_equal(boxes, before)


def test_a_network_gets_channels_first_from_0_to_1():
    picture = _random((4, 5))
    batch = to_batch(picture)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, 2], picture[..., 2] / 255, rtol=1e-6)
