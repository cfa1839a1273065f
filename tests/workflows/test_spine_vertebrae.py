"""Vertebrae between the discs: their common list, and their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.spine_columns import parts_of

from deepseg_lite.workflows.spine.numbering import Entry, column_of, number_vertebrae, untangle
from deepseg_lite.workflows.spine.parts import Parts


def entries(spelled: str) -> list[Entry]:
    return [Entry(kind == "d", number) for number, kind in enumerate(spelled)]


def spelled(column: list[Entry]) -> list[int]:
    return [entry.number for entry in column]


def test_discs_and_vertebrae_in_one_list():
    column = column_of(parts_of(50, 30, 10), parts_of(40, 30, 10))
    kinds = [("d" if entry.is_disc else "v", entry.number) for entry in column]
    assert kinds == [("v", 1), ("d", 1), ("v", 2), ("d", 2), ("v", 3), ("d", 3)]


def test_the_higher_number_goes_before_the_vertebra():
    discs = Parts(np.zeros((1, 1, 1), np.int32), (5,), (30,))
    assert [entry.is_disc for entry in column_of(parts_of(30), discs)] == [True, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("vdvdv", [0, 1, 2, 3, 4]),
        ("vddvv", [0, 1, 3, 2, 4]),  # two vertebrae below: the second disc goes down
        ("vvddv", [0, 2, 1, 3, 4]),  # two above: the first disc goes up
        ("vvddvv", [0, 1, 2, 4, 3, 5]),  # both: the second goes down
        ("vddv", [0, 1, 2, 3]),
        ("dvvd", [1, 0, 2, 3]),
        ("dvv", [1, 0, 2]),
        ("dvvdvv", [1, 0, 2, 3, 4, 5]),
        ("vdvvd", [0, 1, 2, 4, 3]),
        ("vvd", [0, 2, 1]),
        ("vddvvddv", [0, 1, 3, 2, 4, 5, 6, 7]),
    ],
)
def test_swaps(before, after):
    assert spelled(untangle(entries(before))) == after


def number_in(kinds: str, labels: dict[int, int]) -> list[int]:
    """Return labels of the vertebrae in a list like "vdv"; disc labels by place in the list."""
    heights = range(len(kinds) * 10, 0, -10)
    places = {kind: [p for p, k in enumerate(kinds) if k == kind] for kind in "dv"}
    made = {
        kind: Parts(
            np.zeros((1, 1, 1), np.int32),
            tuple(p + 1 for p in places[kind]),
            tuple(heights[p] for p in places[kind]),
        )
        for kind in "dv"
    }
    found = number_vertebrae(made["v"], made["d"], {p + 1: v for p, v in labels.items()})
    return [found.get(p + 1, 0) for p in places["v"]]


def test_vertebrae_have_the_numbers_of_the_discs_above_them():
    assert number_in("dvdvdv", {0: 67, 2: 71, 4: 72}) == [17, 21, 22]


def test_vertebrae_above_the_first_disc_are_counted_upwards():
    assert number_in("vdvd", {1: 67, 3: 71}) == [16, 17]
    assert number_in("vvvvdvdv", {4: 64, 6: 65}) == [0, 11, 12, 13, 14, 15]


def test_upwards_there_is_no_l6():
    assert number_in("vvdv", {2: 100})[:2] == [44, 45]


def test_vertebrae_without_a_disc_between_share_a_number():
    assert number_in("dvdvvdv", {0: 67, 2: 71, 5: 72}) == [17, 21, 21, 22]


def test_the_last_of_two_vertebrae_at_the_end_is_the_next():
    assert number_in("vdvdvv", {1: 66, 3: 67}) == [15, 16, 17, 21]
    assert number_in("vdvdvv", {1: 95, 3: 100}) == [44, 45, 50, 50]


def test_discs_without_number_are_passed_over():
    assert number_in("dvdvdv", {2: 71, 4: 72}) == [17, 21, 22]
    assert number_in("dvdvdv", {0: 71, 4: 73}) == [21, 21, 23]


def test_vertebrae_stay_without_number_where_no_disc_has_one():
    assert number_in("vdvdv", {}) == [0, 0, 0]
