"""Which discs are told by their look, and how the others are counted from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.spine_columns import C2_C3, C7_T1, DISC, L5_S1, T12_L1, column, line_at, parts_of

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.labelling import label_spine
from deepseg_lite.workflows.spine.numbering import find_landmarks, number_discs
from deepseg_lite.workflows.spine.parts import find_parts
from deepseg_lite.workflows.spine.tables import NEWEST, STEP1, Rules


def landmarks_of(classes: np.ndarray, rules: Rules = NEWEST) -> dict[int, int]:
    """Return landmarks by the rank of their disc from the top, 0 for the topmost."""
    discs = find_parts(classes, [STEP1.discs], rules.minimum_component_voxels, line_at())
    found = find_landmarks(discs, classes, STEP1, rules)
    return {discs.order.index(disc): label for disc, label in found.items()}


def test_no_landmark_is_an_error():
    with pytest.raises(ImageError, match="no disc could be told by its look"):
        label_spine(column(DISC, DISC), STEP1)


def test_c2_c3_must_be_in_the_topmost_disc():
    spine = column(DISC, C2_C3, C7_T1)
    assert landmarks_of(spine) == {2: 71}
    assert landmarks_of(spine, replace(NEWEST, vet_c2_c3=False)) == {1: 63}
    spine[2, 12, 70] = C2_C3  # one voxel will do
    assert landmarks_of(spine) == {1: 63}


@pytest.mark.parametrize(("voxels", "landmarks"), [(80, {0: 63, 1: 100}), (81, {0: 63})])
def test_l5_s1_must_have_no_large_disc_below(voxels, landmarks):
    spine = column(C2_C3, L5_S1)
    spine[2:12, 12:22, 40] = np.where(np.arange(100) < voxels, DISC, 0).reshape(10, 10)
    assert landmarks_of(spine, replace(NEWEST, minimum_component_voxels=10)) == landmarks


@pytest.mark.parametrize("value", [DISC, T12_L1])
def test_the_disc_below_l5_s1_may_be_of_any_class(value):
    spine = column(C2_C3, L5_S1, value)
    assert landmarks_of(spine) == {0: 63}


def test_the_size_of_l5_s1_is_that_of_its_class_wherever_it_is():
    rules = replace(NEWEST, minimum_component_voxels=10)
    spine = column(C2_C3, L5_S1)
    spine[2:12, 12:20, 40] = DISC  # 80 voxels
    spine[2, 12, 60] = DISC  # 799 of L5-S1
    assert landmarks_of(spine, rules) == {0: 63}
    spine[20, 30, 30] = L5_S1  # 800 with one that is in no component
    assert landmarks_of(spine, rules) == {0: 63, 1: 100}
    spine[11, 20, 40] = L5_S1  # 801 with one in the disc below, which has 81
    assert landmarks_of(spine, rules) == {0: 63}


def test_the_place_of_l5_s1_is_that_of_its_first_voxel_in_a_component():
    spine = column(C2_C3, L5_S1, DISC)
    assert landmarks_of(spine) == {0: 63}
    spine[1, 12:22, 50] = L5_S1  # first in array order, at the last disc
    assert landmarks_of(spine) == {0: 63, 1: 100}
    spine[0, 0, 0] = L5_S1
    assert landmarks_of(spine) == {0: 63, 1: 100}


def test_l5_s1_in_earlier_releases():
    spine = column(C2_C3, L5_S1, DISC)
    assert landmarks_of(spine, replace(NEWEST, vet_l5_s1="last")) == {0: 63}
    assert landmarks_of(spine, replace(NEWEST, vet_l5_s1="never")) == {0: 63, 1: 100}
    spine[2, 12, 50] = L5_S1
    assert landmarks_of(spine, replace(NEWEST, vet_l5_s1="last")) == {0: 63, 1: 100}


@pytest.mark.parametrize(("voxels", "found"), [(200, False), (201, True)])
def test_a_landmark_needs_more_than_200_voxels(voxels, found):
    spine = column(DISC, T12_L1)
    disc = spine[2:22, 12:22, 60:64]
    disc[:] = np.where(np.arange(disc.size) < voxels, C7_T1, DISC).reshape(disc.shape)
    if found:
        assert landmarks_of(spine) == {1: 71}
    else:
        with pytest.raises(ImageError, match="no disc could be told"):
            landmarks_of(spine)
    assert landmarks_of(spine, replace(NEWEST, minimum_landmark_voxels=1)) == {1: 71}


def test_a_landmark_is_the_disc_with_most_of_its_class():
    spine = column(C2_C3, C7_T1, C7_T1)
    spine[2, 12, 60] = DISC
    assert landmarks_of(spine[:, :, :70]) == {1: 71}
    spine[2:4, 12:14, 50] = DISC
    assert landmarks_of(spine[:, :, :70]) == {0: 71}


@pytest.mark.parametrize(("t12", "label"), [(10, 71), (9, 71), (11, 91)])
def test_the_class_that_prevails_among_landmarks_wins_the_lower_one_on_ties(t12, label):
    spine = column(DISC)
    spine[2:12, 12:22, 70:74] = C7_T1
    spine[12:22, 12:22, 70:74] = T12_L1
    if t12 != 10:
        spine[12, 12, 70] = DISC if t12 == 9 else T12_L1
        spine[2, 12, 70] = C7_T1 if t12 == 9 else DISC
    assert landmarks_of(spine) == {0: label}


def test_plain_disc_voxels_do_not_make_a_landmark_weaker():
    spine = column(DISC)
    spine[2:10, 12:22, 70:74] = C7_T1  # 320 of 800
    assert landmarks_of(spine) == {0: 71}


@pytest.mark.parametrize(
    ("discs", "landmarks"),
    [
        ((C2_C3, C7_T1, L5_S1), {0: 63, 2: 100}),  # the first two are always tried
        ((DISC, C7_T1, L5_S1), {2: 100, 1: 71}),  # and so is the next where one was vetted
        ((C7_T1, T12_L1), {0: 71}),  # then only until one is found
        ((T12_L1,), {0: 91}),
    ],
)
def test_which_landmarks_are_tried(discs, landmarks):
    assert landmarks_of(column(*discs)) == landmarks


def test_voxels_outside_of_all_components_can_win_a_landmark():
    spine = column(DISC)
    for z in range(0, 60, 12):
        spine[2:12, 24:30, z] = C7_T1  # 60 voxels each, 300 in all
    discs = find_parts(spine, [STEP1.discs], 200, line_at())
    assert find_landmarks(discs, spine, STEP1, NEWEST) == {0: 71}


def number(count: int, landmarks: dict[int, int]) -> list[int]:
    """Return labels of so many discs, from the top; landmarks by their rank."""
    discs = parts_of(*range(count, 0, -1))
    labels = number_discs(discs, {rank + 1: label for rank, label in landmarks.items()})
    return [labels.get(number, 0) for number in discs.order]


def test_counting_goes_both_ways_from_the_topmost_landmark():
    assert number(4, {2: 91}) == [81, 82, 91, 92]


def test_discs_above_the_first_label_stay_without():
    assert number(4, {2: 64}) == [0, 63, 64, 65]


def test_upwards_there_is_no_l5_l6():
    assert number(4, {2: 100}) == [94, 95, 100, 0]


def test_an_additional_disc_below_the_last_landmark_is_l5_l6():
    assert number(8, {0: 91}) == [91, 92, 93, 94, 95, 96, 100, 0]


def test_counting_starts_anew_at_each_landmark():
    assert number(5, {1: 67, 3: 91}) == [66, 67, 71, 91, 92]
    assert number(5, {1: 91, 4: 100}) == [82, 91, 92, 93, 100]


def test_only_the_topmost_landmark_counts_upwards():
    assert number(4, {0: 63, 3: 71}) == [63, 64, 65, 71]
