"""Objects that are small beside the largest one, against a flood fill in plain Python."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from deepseg_lite.steps.components import spots
from deepseg_lite.steps.maps import remove_spots

PERCENT = st.integers(1, 100).map(lambda number: Fraction(number, 100))
CONNECTIVITY = st.sampled_from([1, 2, 3])
MASKS = npst.arrays(bool, npst.array_shapes(min_dims=3, max_dims=3, max_side=5))
LABELS = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(0, 3)
)


def _objects(mask, connectivity):
    """Return the objects of a mask as sets of places."""
    left = set(map(tuple, np.argwhere(mask).tolist()))
    steps = [s for s in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, s)) <= connectivity]
    found = []
    while left:
        frontier = [left.pop()]
        one = set(frontier)
        while frontier:
            here = frontier.pop()
            for step in steps:
                there = tuple(a + b for a, b in zip(here, step, strict=True))
                if there in left:
                    left.remove(there)
                    one.add(there)
                    frontier.append(there)
        found.append(one)
    return found


def _small(mask, share, connectivity):
    """Return where the small objects are, in whole numbers and fractions alone."""
    objects = _objects(mask, connectivity)
    largest = max(map(len, objects), default=0)
    small = np.zeros(mask.shape, bool)
    for one in objects:
        if len(one) < share * largest:
            small[tuple(np.array(sorted(one)).T)] = True
    return small


@given(MASKS, PERCENT, CONNECTIVITY)
def test_small_objects_are_those_of_a_flood_fill(mask, share, connectivity):
    found = spots(mask, float(share), connectivity)
    np.testing.assert_array_equal(found, _small(mask, share, connectivity))


@given(LABELS, PERCENT, CONNECTIVITY)
def test_labels_together_are_one_mask(labels, share, connectivity):
    (kept,) = remove_spots(labels[None], float(share), False, connectivity)
    np.testing.assert_array_equal(
        kept, np.where(_small(labels > 0, share, connectivity), 0, labels)
    )
    assert kept.dtype == labels.dtype


@given(LABELS, PERCENT, CONNECTIVITY)
def test_each_label_by_itself_has_its_own_largest(labels, share, connectivity):
    expected = labels.copy()
    for value in (1, 2, 3):
        expected[_small(labels == value, share, connectivity)] = 0
    (kept,) = remove_spots(labels[None], float(share), True, connectivity)
    np.testing.assert_array_equal(kept, expected)


@given(LABELS, PERCENT, CONNECTIVITY, st.booleans())
def test_masks_are_what_labels_are(labels, share, connectivity, independent):
    masks = np.stack([labels == value for value in (1, 2, 3)]).astype(np.float32)
    kept = remove_spots(masks, float(share), independent, connectivity)
    (expected,) = remove_spots(labels[None], float(share), independent, connectivity)
    np.testing.assert_array_equal(kept, [expected == value for value in (1, 2, 3)])
    assert kept.dtype == masks.dtype


@given(LABELS, PERCENT, CONNECTIVITY, st.booleans())
def test_what_stays_stays_and_nothing_becomes_empty(labels, share, connectivity, independent):
    before = labels.copy()
    kept = remove_spots(labels[None], float(share), independent, connectivity)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(remove_spots(kept, float(share), independent, connectivity), kept)
    assert kept.any() == labels.any()
    if independent:
        assert set(np.unique(kept)) | {0} == set(np.unique(labels)) | {0}


@given(LABELS, PERCENT, st.permutations(range(3)), st.booleans())
def test_the_order_and_direction_of_axes_do_not_matter(labels, share, order, independent):
    def clean(array):
        return remove_spots(array[None], float(share), independent, 3)[0]

    turned = clean(np.flip(labels, 1).transpose(order))
    np.testing.assert_array_equal(turned, np.flip(clean(labels), 1).transpose(order))


@pytest.mark.parametrize("independent", [False, True])
def test_an_empty_volume_stays_empty(independent):
    empty = np.zeros((1, 3, 4, 5), np.uint8)
    kept = remove_spots(empty, 0.01, independent, 3)
    np.testing.assert_array_equal(kept, empty)
    assert kept.dtype == np.uint8


@pytest.mark.parametrize(("voxels", "stays"), [(6, False), (7, True)])
def test_an_object_of_exactly_the_share_stays(voxels, stays):
    """One percent of 700 is not 7 in floating point if it is a product."""
    mask = np.zeros((800, 1, 1), bool)
    mask[:700] = True
    mask[710 : 710 + voxels] = True
    assert spots(mask, 0.01, 1).any() == (not stays)


def test_a_piece_of_cord_that_a_lost_slice_cuts_off_stays():
    labels = np.zeros((9, 9, 20), np.uint8)
    labels[2:7, 2:7] = 1
    labels[4, 3:6] = 2
    labels[..., 18] = 0  # the last slice hangs on nothing
    labels[8, 8, 0:2] = 1
    (kept,) = remove_spots(labels[None], 0.01, False, 3)
    assert (kept[..., 19] == labels[..., 19]).all()
    assert not kept[8, 8].any()
    assert (labels != kept).sum() == 2
