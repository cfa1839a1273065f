"""Pictures: what is in them, and where."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.png import decoded
from helpers.views import cord, view_of

from deepseg_lite.qc.pictures import (
    COLORS,
    MAX_TILES,
    axial_picture,
    color_of,
    sagittal_picture,
    short_name,
)

TEXT = len(COLORS) + 1


def test_each_tile_shows_its_slice_with_the_structure_in_the_middle():
    labels = np.zeros((12, 60, 80), np.uint8)
    for index in range(3, 9):
        labels[index, 10 + index : 22 + index, 30:42] = 1
    picture = axial_picture(view_of(labels, {"sc": (1,)}))
    facts = picture.facts
    assert facts["slices"] == list(range(2, 10))
    filled = decoded(picture.filled)
    assert list(filled.shape[::-1]) == facts["size"]
    size = facts["tile"]
    for place in range(1, 7):
        top, left = place // facts["columns"] * size, place % facts["columns"] * size
        rows, columns = np.nonzero(filled[top : top + size, left : left + size])
        assert abs(rows.mean() - (size - 1) / 2) < 1
        assert abs(columns.mean() - (size - 1) / 2) < 1
        assert len(rows) * facts["mm"] ** 2 == pytest.approx(144, rel=0.1)
    assert not filled[:size, :size].any()  # the slice before the first


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 3), (20, 5), (48, 8), (60, 10)])
def test_few_slices_are_shown_large_and_rows_are_full(count, columns):
    picture = axial_picture(view_of(cord((count, 40, 40)), {"sc": (1,)}))
    assert picture.facts["columns"] == columns
    width, height = picture.facts["size"]
    assert width * height < (count + columns) * picture.facts["tile"] ** 2  # no empty row


def test_many_slices_are_shown_evenly_with_the_first_and_the_last():
    picture = axial_picture(view_of(cord((400, 40, 40)), {"sc": (1,)}, (1.0, 1.0, 1.0)))
    slices = picture.facts["slices"]
    assert len(slices) == MAX_TILES
    assert (slices[0], slices[-1]) == (0, 399)
    assert set(np.diff(slices)) <= {6, 7}


def test_an_outline_is_the_border_and_of_two_structures_the_inner_one_has_it():
    labels = cord((3, 40, 40), 12.0)
    labels[:, 18:22, 18:22] = 2
    picture = axial_picture(view_of(labels, {"sc": (1, 2), "gm": (2,)}))
    size = picture.facts["tile"]
    filled, outline = (decoded(data)[:size, :size] for data in (picture.filled, picture.outline))
    assert set(np.unique(outline)) == {0, 1, 2}
    assert np.all((outline == 0) | (outline == filled))
    row = outline[size // 2]
    assert [int(value) for value in row[row > 0]] == [1, 2, 2, 1]


def test_numbers_and_directions_are_in_the_picture_for_other_viewers_alone():
    picture = axial_picture(view_of(cord(), {"sc": (1,)}))
    assert (decoded(picture.lettered) == TEXT).sum() > 100
    assert not (decoded(picture.filled) == TEXT).any()
    assert not (decoded(picture.outline) == TEXT).any()


def test_the_sagittal_picture_follows_the_structure_from_end_to_end():
    labels = np.zeros((30, 50, 60), np.uint8)
    image = np.zeros(labels.shape, np.float32)
    for index in range(5, 25):
        labels[index, 20:30, 15 + index : 17 + index] = 1  # leaves every straight sagittal slice
        image[index, 20:30, 15 + index : 17 + index] = 100.0
    view = view_of(labels, {"sc": (1,)}, (2.0, 1.0, 1.0), image)
    picture = sagittal_picture(view)
    filled, facts = decoded(picture.filled), picture.facts
    assert filled.shape[0] * facts["mm"] == pytest.approx(60, abs=1)
    rows = np.flatnonzero(filled.any(axis=1)) * facts["mm"]
    assert rows[0] == pytest.approx(9.0, abs=1.1)
    assert rows[-1] == pytest.approx(49.0, abs=1.1)
    assert filled[filled.any(axis=1)].any(axis=1).all()
    inside = decoded(picture.backgrounds[0])[filled > 0]
    assert np.median(inside) > 200


def test_points_are_dots_with_their_names():
    labels = np.zeros((40, 50, 60), np.uint8)
    for value in range(1, 6):
        labels[7 * value, 25, 10 * value] = value
    names = {f"C{value}_C{value + 1}": (value,) for value in range(1, 6)}
    view = view_of(labels, names, (1.0, 1.0, 1.0))
    picture = sagittal_picture(view, named=("C",))
    filled = decoded(picture.filled)
    assert [int((filled == value).sum()) for value in range(1, 6)] == [9] * 5
    texts = [text for text, _, _ in picture.facts["names"]]
    assert texts == [f"C{value}-C{value + 1}" for value in range(1, 6)]


def test_structures_that_the_sagittal_slice_misses_are_seen_from_the_side():
    labels = cord((40, 50, 60))
    labels[10:20, 33:37, 5:8] = labels[10:20, 33:37, 52:55] = 2  # to the left and the right
    view = view_of(labels, {"sc": (1,), "lvl2": (2,)}, (1.0, 1.0, 1.0))
    picture = sagittal_picture(view, named=("lvl",))
    filled, mm = decoded(picture.filled), picture.facts["mm"]
    rows, _ = np.nonzero(filled == 2)
    assert len(rows) * mm**2 == pytest.approx(40, rel=0.1)
    assert rows.min() * mm == pytest.approx(10, abs=1)
    assert [text for text, _, _ in picture.facts["names"]] == ["2"]
    assert (filled == 1).any()


def test_an_empty_result_shows_the_middle_of_the_image():
    view = view_of(np.zeros((8, 40, 40), np.uint8), {"sc": (1,)}, image=np.ones((8, 40, 40)))
    picture = axial_picture(view)
    assert picture.facts["slices"] == list(range(8))
    assert not decoded(picture.filled).any()
    assert not decoded(sagittal_picture(view).filled).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 7.0])
def test_images_without_contrast_can_be_shown(value):
    image = np.full((6, 40, 40), value, np.float32)
    picture = axial_picture(view_of(cord((6, 40, 40)), {"sc": (1,)}, image=image))
    assert decoded(picture.backgrounds[0]).size


def test_names_are_short():
    assert short_name("vertebrae_C3", 13) == "C3"
    assert short_name("disc_L5_S1", 95) == "L5-S1"
    assert short_name("disc_C7_T1", 71) == "C7-T1"
    assert short_name("lvl8", 8) == "8"
    assert short_name("sacrum", 50) == "50"


def test_pictures_of_a_usual_volume_are_small():
    rng = np.random.default_rng(0)
    image = (100 + 40 * rng.standard_normal((60, 320, 320))).astype(np.int16)
    view = view_of(cord((60, 320, 320), 10.0), {"sc": (1,)}, (3.0, 0.5, 0.5), image)
    pictures = (axial_picture(view), sagittal_picture(view))
    size = sum(
        len(data)
        for picture in pictures
        for data in (*picture.backgrounds, picture.filled, picture.outline, picture.lettered)
    )
    assert size < 150_000  # of nothing but noise, the worst there is


def test_colours_are_those_that_the_page_shows():
    assert color_of(1) == color_of(1 + len(COLORS)) == (230, 159, 0)
    page = Path(__file__).parents[2] / "deepseg_lite" / "qc" / "page.html"
    assert not re.search(r"https?://", page.read_text(encoding="utf-8"))
