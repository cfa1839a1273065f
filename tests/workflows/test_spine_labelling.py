"""From classes to labels: the tables, the steps together, and what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.spine import make_spine
from helpers.spine_columns import (
    C2_C3,
    C7_T1,
    CANAL,
    CORD,
    DISC,
    EVEN,
    HEIGHTS,
    L5_S1,
    ODD,
    SACRUM,
    T12_L1,
    UNSURE,
    column,
)

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.labelling import label_spine
from deepseg_lite.workflows.spine.tables import (
    DISCS,
    NAMES,
    NEWEST,
    STEP1,
    STEP2,
    USUAL_DISCS,
    USUAL_VERTEBRAE,
    VERTEBRA_BELOW,
    VERTEBRAE,
    LabellingStep,
    Rules,
)


def disc_labels(classes: np.ndarray, rules: Rules = NEWEST) -> list[int]:
    """Return the label at each of `HEIGHTS`, 0 for none, the zeros below the last one left out."""
    labels = label_spine(classes, STEP1, rules)
    found = [int(labels[12, 17, height + 1]) for height in HEIGHTS]
    while found and not found[-1]:
        found.pop()
    return found


def test_tables_name_every_label_once_and_in_order():
    assert [*NAMES] == sorted(NAMES)
    assert {*DISCS, *VERTEBRAE, 1, 2} == {*NAMES}
    assert NAMES[1] == "spinal_cord"
    assert NAMES[50] == "sacrum"
    assert STEP1.names[50] == "vertebrae"
    assert {*STEP1.names} == {1, 2, 11, 50, *DISCS}
    assert STEP2.names == NAMES


def test_the_vertebra_below_a_disc():
    for label, below in ((63, 13), (67, 17), (71, 21), (82, 32), (91, 41), (96, 46), (100, 50)):
        assert VERTEBRA_BELOW[label] == below
        upper, lower = NAMES[label].split("_")[1:]
        assert lower == {50: "S1"}.get(below, NAMES[below].split("_")[-1])
        assert upper == NAMES[VERTEBRAE[VERTEBRAE.index(below) - 1]].split("_")[-1] or label == 100


def test_the_rare_sixth_lumbar_vertebra_is_no_usual_one():
    assert {*DISCS} - {*USUAL_DISCS} == {96}
    assert {*VERTEBRAE} - {*USUAL_VERTEBRAE} == {46}


@pytest.mark.parametrize("classes", [(), (CANAL,), (CORD,)], ids=["neither", "canal", "cord"])
def test_canal_or_cord_is_needed(classes):
    spine = column(C2_C3)
    spine[np.isin(spine, (CANAL, CORD))] = 0
    if not classes:
        with pytest.raises(ImageError, match="no spinal canal was found"):
            label_spine(spine, STEP1)
        return
    spine[9:15, 4:10] = classes[0]
    assert disc_labels(spine) == [63]


def test_a_canal_that_is_hollow_everywhere_is_none():
    spine = column(C2_C3)
    spine[10:14, 5:9] = 0
    with pytest.raises(ImageError, match="no spinal canal was found"):
        label_spine(spine, STEP1)


def test_no_disc_is_an_error():
    spine = column()
    spine[2, 12:22, 10:14] = C2_C3  # 40 voxels
    with pytest.raises(ImageError, match="no disc was found"):
        label_spine(spine, STEP1)


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (C7_T1, [67, 71, 72]),
        (T12_L1, [82, 91, 92]),
        (C2_C3, [0, 63, 64]),
        (L5_S1, [95, 100]),
    ],
)
def test_discs_are_counted_from_a_landmark(value, labels):
    spine = column(DISC, value, *([DISC] if value != L5_S1 else []))
    rules = replace(NEWEST, vet_c2_c3=False)
    assert disc_labels(spine, rules) == labels


def test_nothing_is_numbered_where_small_components_win_the_landmark():
    spine = column(DISC)
    for z in range(0, 60, 12):
        spine[2:12, 24:30, z] = C7_T1  # 60 voxels each, 300 in all
    assert disc_labels(spine) == []


def test_vertebrae_are_needed_where_they_are_numbered():
    spine = make_spine(1, 5).step2
    spine[np.isin(spine, (ODD, EVEN, SACRUM))] = 0
    spine[:10, :19, 5] = ODD  # 190 voxels
    with pytest.raises(ImageError, match="no vertebra was found"):
        label_spine(spine, STEP2)


def test_overlays_go_over_what_was_worked_out_the_later_over_the_earlier():
    spine = column(C2_C3)
    step: LabellingStep = replace(STEP1, overlays=((CANAL, 2), (C2_C3, 7), (C2_C3, 8)))
    labels = label_spine(spine, step)
    assert {*np.unique(labels[spine == C2_C3])} == {8}
    assert {*np.unique(labels[spine == CANAL])} == {2}


def test_canal_cord_sacrum_and_c1_have_their_labels():
    spine = column(C2_C3)
    spine[11:13, 6:8] = CORD
    spine[2:22, 24:26, 10:20] = 6
    spine[2:22, 24:26, 40:50] = 7
    labels = label_spine(spine, STEP1)
    assert {*np.unique(labels[spine == 6])} == {50}
    assert {*np.unique(labels[spine == 7])} == {11}
    assert {*np.unique(labels[spine == CORD])} == {1}
    assert {*np.unique(labels[spine == CANAL])} == {2}


@pytest.mark.parametrize(("first", "last"), [(1, 9), (1, 25), (6, 14), (17, 25)])
def test_a_spine_gets_its_own_numbers(first, last):
    spine = make_spine(first, last)
    expected = {DISCS[number - 3] for number in spine.discs if number < 25}
    expected |= {100} if 25 in spine.discs else set()
    for classes, step in ((spine.step1, STEP1), (spine.step2, STEP2)):
        labels = label_spine(classes, step)
        assert labels.dtype == np.uint8
        assert {*np.unique(labels[np.isin(classes, step.discs)])} == expected
    bones = {*np.unique(labels[np.isin(spine.step2, (ODD, EVEN, SACRUM))])} - {0}
    assert bones == {[0, *USUAL_VERTEBRAE][number] for number in range(first, last + 1)}


def test_both_halves_of_the_last_vertebra_have_its_number():
    spine = make_spine(1, 5).step2
    last = np.zeros(spine.shape, bool)
    last[:, :, :13] = np.isin(spine[:, :, :13], (ODD, EVEN))
    spine[:, :, 4:7][last[:, :, 4:7]] = 0
    labels = label_spine(spine, STEP2)
    for half in (labels[:, :, :4], labels[:, :, 7:10]):
        assert {*np.unique(half[np.isin(half, VERTEBRAE)])} == {15}


def test_unsure_bone_gets_the_number_of_its_vertebra():
    spine = make_spine(1, 5).step2
    labels = label_spine(spine, STEP2)
    unsure = labels[spine == UNSURE]
    assert {*np.unique(unsure)} == {0, 11, 12, 13, 14, 15}
    assert np.count_nonzero(unsure) > 0.4 * len(unsure)


def test_the_input_stays_as_it_is():
    spine = make_spine(1, 4).step2
    given = spine.copy()
    label_spine(spine, STEP2)
    np.testing.assert_array_equal(spine, given)
