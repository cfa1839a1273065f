"""PNG files, read back by a decoder that is not ours."""

from __future__ import annotations

import numpy as np
from helpers.png import chunks_of, decoded

from deepseg_lite.qc import font
from deepseg_lite.qc.png import colored_png, gray_png


def test_a_gray_picture_keeps_its_values():
    picture = np.random.default_rng(0).integers(0, 256, (13, 29), np.uint8)
    np.testing.assert_array_equal(decoded(gray_png(picture)), picture)


def test_a_coloured_picture_keeps_its_numbers_and_its_ground_is_transparent():
    picture = np.random.default_rng(0).integers(0, 3, (7, 5), np.uint8)
    data = colored_png(picture, [(230, 159, 0), (1, 2, 3)], [255, 128])
    np.testing.assert_array_equal(decoded(data), picture)
    assert chunks_of(data)[b"PLTE"] == bytes([0, 0, 0, 230, 159, 0, 1, 2, 3])
    assert chunks_of(data)[b"tRNS"] == bytes([0, 255, 128])


def test_letters_have_their_form_and_are_cut_at_the_border():
    picture = np.zeros((9, 12), np.uint8)
    font.draw(picture, "1-", 1, 0, 7)
    form = ["..#..", ".##..", "..#..", "..#..", "..#..", "..#..", ".###."]
    drawn = ["".join(".#"[int(value > 0)] for value in row) for row in picture[1:8, :5]]
    assert drawn == form
    assert picture[4, 6:11].tolist() == [7] * 5
    font.draw(picture, "88", 5, 8, 1)
    assert picture.shape == (9, 12)
