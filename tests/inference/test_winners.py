"""Labels without resampling every score: the same, voxel for voxel, as with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.inference import winners
from deepseg_lite.inference.decoding import paint_labels
from deepseg_lite.inference.winners import Effort, all_taps, label_slabs
from deepseg_lite.steps.interpolation import Interpolation, centre_matrix, plan_resampling
from deepseg_lite.steps.resample import Resampled

LINEAR, SEPARATE = Interpolation(1, "never", 0), Interpolation(1, "always", 0)
NEAREST, CUBIC = Interpolation(0, "never", 0), Interpolation(3, "never", 0)
GRIDS = {
    "finer": ((7, 9, 8), (13, 17, 15)),
    "coarser": ((13, 17, 15), (7, 9, 8)),
    "mixed": ((5, 16, 9), (12, 7, 9)),
    "one axis": ((6, 9, 8), (6, 9, 17)),
    "first axis": ((6, 9, 8), (13, 9, 8)),
    "middle axis": ((6, 9, 8), (6, 20, 8)),
    "whole factors": ((4, 5, 6), (8, 15, 12)),
    "single voxels": ((1, 9, 1), (1, 17, 4)),
    "down to one": ((6, 2, 7), (1, 5, 1)),
    "same": ((5, 6, 7), (5, 6, 7)),
}


def _record(old, new, interpolation=LINEAR):
    return Resampled(plan_resampling(old, new, (1, 1, 4), (1, 1, 4), interpolation))


THOROUGH = Effort(open_share=1, open_share_at_most=1)  # noise, too, is solved voxel by voxel
EFFORTS = {"whole": Effort(), "slabs": replace(THOROUGH, slab_voxels=900, chunk=50)}


def _both(scores, record, order=None, dtype=np.uint8, effort=EFFORTS["whole"]):
    slabs = record.undo_slabs(scores, slab_voxels=effort.slab_voxels)
    plain = [paint_labels(slab, order, dtype) for slab in slabs]
    found = label_slabs(scores, record, order, dtype, effort)
    return np.concatenate(plain), np.concatenate(list(found))


def _smooth(rng, shape):
    """Blobs with wide borders of every slope, and an early channel that is never far away."""
    position = np.stack(np.meshgrid(*map(np.arange, shape[1:]), indexing="ij"))
    centres = rng.uniform(0, shape[1:], size=(shape[0], 3))
    return np.stack([9 - ((position.T - c) ** 2).sum(-1).T / 4 for c in centres])


def _ties(rng, shape):
    """Draw few values, so that most voxels have several winners."""
    return rng.integers(-1, 2, size=shape) * 0.3


def _near_ties(rng, shape):
    """Move the same values by a few units of rounding."""
    return _ties(rng, shape) + rng.integers(-3, 4, size=shape) * 3e-8


def _blocks(rng, shape):
    """Constant within blocks, tied in whole blocks, with equal slopes across their borders."""
    coarse = rng.integers(-2, 3, size=(shape[0], *(-(-n // 3) for n in shape[1:])))
    for axis in (1, 2, 3):
        coarse = coarse.repeat(3, axis)
    return coarse[(slice(None), *map(slice, shape[1:]))] * 1.7


def _noise(rng, shape):
    return rng.normal(size=shape)


KINDS = [_smooth, _ties, _near_ties, _blocks, _noise]


@pytest.fixture(params=EFFORTS)
def effort(request):
    return EFFORTS[request.param]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[1:])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("interpolation", [LINEAR, SEPARATE, NEAREST], ids=["lin", "sep", "near"])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_the_largest_score_wins(rng, effort, kind, grid, interpolation, count):
    old, new = GRIDS[grid]
    scores = kind(rng, (count, *old)).astype(np.float32)
    plain, found = _both(scores, _record(old, new, interpolation), effort=effort)
    assert len(np.unique(plain)) > 1 or plain.size < 20
    np.testing.assert_array_equal(found, plain)
    assert found.dtype == plain.dtype


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[1:])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", [(1,), (2, 1), (3, 1, 300)], ids=str)
def test_regions_are_painted_in_order(rng, effort, kind, grid, order):
    old, new = GRIDS[grid]
    scores = kind(rng, (len(order), *old)).astype(np.float32)
    plain, found = _both(scores, _record(old, new), order, np.uint16, effort)
    np.testing.assert_array_equal(found, plain)
    assert found.dtype == plain.dtype


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[1:])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("interpolation", [LINEAR, SEPARATE, NEAREST], ids=["lin", "sep", "near"])
@pytest.mark.parametrize("thickness", [1, 2, 5])
def test_parts_give_the_labels_of_the_whole(rng, effort, kind, grid, interpolation, thickness):
    old, new = GRIDS[grid]
    scores = kind(rng, (3, *old)).astype(np.float32)
    record = _record(old, new, interpolation)
    plain, _ = _both(scores, record, effort=effort)
    rows = (scores[:, i : i + thickness].copy() for i in range(0, old[0], thickness))
    parts = [label_slabs(kept, part, None, np.uint8, effort) for part, kept in record.parts(rows)]
    assert len(parts) > 1 or len(plain) <= 2 * thickness or old[0] <= 2 * thickness
    np.testing.assert_array_equal(np.concatenate([slab for part in parts for slab in part]), plain)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_grid_any_scores(data):
    old, new = (data.draw(st.tuples(*[st.integers(1, 9)] * 3)) for _ in range(2))
    count, seed = data.draw(st.integers(2, 12)), data.draw(st.integers(0, 2**32 - 1))
    kind = data.draw(st.sampled_from(KINDS))
    scale = data.draw(st.sampled_from([1e-42, 1e-20, 1, 1e6, 1e29]))
    regions = list(range(1, count + 1)) if data.draw(st.booleans()) else None
    scores = (kind(np.random.default_rng(seed), (count, *old)) * scale).astype(np.float32)
    effort = data.draw(st.sampled_from(list(EFFORTS.values())))
    plain, found = _both(scores, _record(old, new), regions, effort=effort)
    np.testing.assert_array_equal(found, plain)


def test_rounding_makes_a_later_winner_tie_with_an_earlier_channel(effort):
    """The later channel is larger everywhere, by less than survives the interpolation."""
    rng = np.random.default_rng(0)
    early = rng.uniform(1, 2, size=(6, 7, 8)).astype(np.float32)
    scores = np.stack([early, np.nextafter(early, np.float32(9))])
    plain, found = _both(scores, _record((6, 7, 8), (13, 15, 17)), effort=effort)
    assert 0 < np.count_nonzero(plain == 0) < plain.size
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_scores_that_overflow_go_the_plain_way(rng, effort, value):
    scores = rng.normal(size=(3, 5, 6, 7)).astype(np.float32)
    scores[1, 2, 3, 4] = value
    with np.errstate(all="ignore"):
        plain, found = _both(scores, _record((5, 6, 7), (9, 11, 13)), effort=effort)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types_go_the_plain_way(rng, effort, dtype):
    scores = rng.normal(size=(3, 5, 6, 7)).astype(dtype)
    plain, found = _both(scores, _record((5, 6, 7), (9, 11, 13)), effort=effort)
    np.testing.assert_array_equal(found, plain)


def test_scores_need_not_be_contiguous(rng, effort):
    scores = _smooth(rng, (3, 9, 8, 9)).astype(np.float32)[:, 1:-1, ::-1, 2:]
    plain, found = _both(scores, _record((7, 8, 7), (12, 15, 13)), effort=effort)
    np.testing.assert_array_equal(found, plain)


def test_taps_exist_only_for_convex_means_of_neighbours():
    def plan(order):
        return plan_resampling((6, 7, 8), (9, 7, 5), (1,) * 3, (1,) * 3, order)

    first, second, third = all_taps(plan(LINEAR), (6, 7, 8))
    assert first.fraction is not None
    assert third.fraction is not None
    assert second.fraction is None
    assert all(taps.fraction is None for taps in all_taps(plan(NEAREST), (6, 7, 8)))
    assert all_taps(plan(CUBIC), (6, 7, 8)) is None


def test_a_position_beyond_the_axis_is_no_convex_mean():
    beyond = [n for n in range(2, 200) if not centre_matrix(n, 2 * n + 1, 1)[-1].any()]
    for size in beyond[:3]:
        assert winners._taps(centre_matrix(size, 2 * size + 1, 1), size) is None
    matrix = np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert winners._taps(matrix, 3) is None


def test_most_voxels_are_settled_without_the_plan(rng, monkeypatch):
    """What makes it fast: on smooth scores nothing is resampled as a whole."""
    scores = _smooth(rng, (4, 12, 12, 12)).astype(np.float32)
    record = _record((12, 12, 12), (25, 25, 25))
    expected, _ = _both(scores, record)
    monkeypatch.setattr(winners, "_exact", None)
    found = np.concatenate(list(label_slabs(scores, record, None, np.uint8, THOROUGH)))
    np.testing.assert_array_equal(found, expected)
