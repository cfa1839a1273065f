"""Label maps from scores on a coarse grid, without resampling every score.

A voxel of the fine grid is a mean of up to eight coarse ones, weighted the same in every channel.
Where these agree on the winning channel it has won; most voxels are settled that way, from a map of
winners alone. The others are interpolated, in float64, in the channels that can win there. What is
then still closer than rounding is left to `ResamplingPlan.apply`, so that the labels are those of
its float32 scores to the last bit, ties included.

Why this is exact. `apply` adds up at most two products per axis, by the same operations in every
channel; rounding is monotonic, so a channel that is nowhere larger among the eight cannot come out
larger. It can come out equal, which matters if it is the earlier one, the winner on ties; so a
winner must exceed the channels before it by a margin, but those after it not at all. Two products
and a sum change a score by 2 units of rounding (eps / 2) of the largest score, three axes by 6, and
weights whose sum is not quite one by 3: 9 eps for the difference of two channels. The margin is 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseg_lite.inference.decoding import label_dtype, paint_labels
from deepseg_lite.steps.interpolation import ResamplingPlan
from deepseg_lite.steps.resample import SLAB_VOXELS, Resampled, slab_rows
from deepseg_lite.volume import FloatArray, LabelArray

MARGIN = 12 * float(np.finfo(np.float32).eps)
"""Relative to the scores: a larger difference survives the rounding of `ResamplingPlan.apply`."""
TINY, HUGE = 1e-30, 1e30
"""Margin against underflow; scores from here on might overflow."""
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Effort:
    """Sizes of the work, on which time and memory depend and labels do not.

    Attributes
    ----------
    slab_voxels : int
        Voxels, over all channels, of the fine grid at a time.
    open_share, open_share_at_most : float
        Share of open voxels, per channel and in all, above which a slab is faster resampled whole.
    chunk : int
        Open voxels that are interpolated at a time.
    """

    slab_voxels: int = SLAB_VOXELS
    open_share: float = 0.1
    open_share_at_most: float = 0.5
    chunk: int = 2**14


EFFORT = Effort()


def label_slabs(
    scores: FloatArray,
    resampled: Resampled,
    regions_class_order: Sequence[int] | None,
    dtype: type[np.unsignedinteger],
    effort: Effort = EFFORT,
) -> Iterator[LabelArray]:
    """Yield what `paint_labels` makes of the slabs of ``resampled.undo_slabs``, found faster.

    Spline orders above 1 and scores that are not finite float32 go that plain way.

    Parameters
    ----------
    scores : array of shape (K, X', Y', Z')
        Logits on the coarse (or any other) grid.
    resampled : Resampled
        How they get back to the image's grid.
    regions_class_order, dtype
        As for `paint_labels`.
    effort : Effort
        Sizes of the work.

    Yields
    ------
    labels : array of shape (x, Y, Z)
        Consecutive slabs of the image's grid.
    """
    plan, taps = resampled.plan, None
    if plan is not None and scores.dtype == np.float32 and max(scores.max(), -scores.min()) < HUGE:
        taps = all_taps(plan, scores.shape[1:])
    if plan is None or taps is None:
        for slab in resampled.undo_slabs(scores, slab_voxels=effort.slab_voxels):
            yield paint_labels(slab, regions_class_order, dtype)
        return
    slabs = slab_rows(plan.new_shape, len(scores), effort.slab_voxels)
    if regions_class_order is None:
        for winners in slab_winners(scores, plan, taps, slabs, effort):
            yield winners.astype(dtype, copy=False)
        return
    nothing = np.zeros_like(scores[0])  # a region is where its score wins against zero
    regions = [slab_winners([nothing, region], plan, taps, slabs, effort) for region in scores]
    for inside in zip(*regions, strict=True):
        labels = np.zeros(inside[0].shape, dtype)
        for region, value in zip(inside, regions_class_order, strict=True):
            labels[region > 0] = value
        yield labels


@dataclass(frozen=True, eq=False)
class Taps:
    """Which voxels of an axis each new one is made of: ``base``, and the next by ``fraction``."""

    base: Indices
    fraction: FloatArray | None

    @property
    def ends(self) -> tuple[Indices, Indices]:
        """The two voxels, the same one twice where the other has no weight."""
        if self.fraction is None:
            return self.base, self.base
        return self.base + (self.fraction == 1), self.base + (self.fraction > 0)

    def __getitem__(self, rows: slice) -> Taps:
        return Taps(self.base[rows], None if self.fraction is None else self.fraction[rows])


def all_taps(plan: ResamplingPlan, shape: Sequence[int]) -> list[Taps] | None:
    """Return the taps of the three axes; None unless the plan takes convex means of neighbours."""
    taps = [_taps(matrix, size) for matrix, size in zip(plan.matrices, shape, strict=True)]
    found = [each for each in taps if each is not None]
    return found if len(found) == 3 and not plan.clip else None


def _taps(matrix: FloatArray | None, size: int) -> Taps | None:
    """Return the taps of one matrix (new, old) as `ResamplingPlan.apply` rounds it, or None."""
    if matrix is None:
        return Taps(np.arange(size), None)
    matrix = matrix.astype(np.float32)
    rows, first = np.arange(len(matrix)), (matrix != 0).argmax(axis=1)
    if (matrix.sum(axis=1) == 1).all() and np.array_equal(matrix != 0, matrix == 1):
        return Taps(first, None)
    base = np.minimum(first, max(0, size - 2))
    pair = np.stack([matrix[rows, base], matrix[rows, np.minimum(base + 1, size - 1)]])
    complete = np.count_nonzero(pair) == np.count_nonzero(matrix)
    if not complete or (pair < 0).any() or abs(pair.sum(axis=0) - 1).max() > 1.2e-7:
        return None
    fraction = np.where(pair[0] == 0, 1, pair[1].astype(np.float64))
    return Taps(base, fraction)


def slab_winners(
    channels: Sequence[FloatArray] | FloatArray,
    plan: ResamplingPlan,
    taps: Sequence[Taps],
    slabs: Sequence[slice],
    effort: Effort = EFFORT,
) -> Iterator[LabelArray]:
    """Yield the winning channel of each voxel of the slabs, the first on ties.

    Parameters
    ----------
    channels : sequence of arrays of shape (X', Y', Z')
        float32, below `HUGE`.
    plan, taps
        The resampling, twice.
    slabs : sequence of slices
        Rows of the result's first axis, each with start and stop.
    effort : Effort
        Sizes of the work.
    """
    undecided = len(channels)
    margin = MARGIN * max(float(max(each.max(), -each.min())) for each in channels) + TINY
    coarse = coarse_winners(channels, margin)
    for axis in (2, 1):
        coarse = _spread(coarse, taps[axis], axis, undecided)
    affordable = min(effort.open_share * len(channels), effort.open_share_at_most)
    for rows in slabs:
        winners = _spread(coarse, taps[0][rows], 0, undecided)
        flat = winners.reshape(-1)
        is_left = flat == undecided
        if np.count_nonzero(is_left) > affordable * flat.size:
            flat[:] = _exact(channels, range(undecided), plan, rows, slice(None))
        elif is_left.any():
            left = np.flatnonzero(is_left)
            chunks = np.array_split(left, -(-len(left) // effort.chunk))
            solved = [_solve(channels, taps, rows, chunk, margin) for chunk in chunks]
            flat[left] = np.concatenate([found for found, _ in solved])
            rivals = np.flatnonzero(np.any([close for _, close in solved], axis=0)).tolist()
            if rivals:
                left = left[flat[left] == undecided]
                flat[left] = _exact(channels, rivals, plan, rows, left)
        yield winners


def coarse_winners(channels: Sequence[FloatArray] | FloatArray, margin: float) -> LabelArray:
    """Return the winner of each voxel (X', Y', Z'); their number where an earlier one is close."""
    winners = np.zeros(channels[0].shape, label_dtype(len(channels)))
    for x, winner in enumerate(winners):
        best = channels[0][x].copy()
        for k in range(1, len(channels)):
            lead = channels[k][x] - best
            np.copyto(winner, k, where=lead > 0)
            np.copyto(winner, len(channels), where=(lead > 0) & (lead <= margin))
            np.maximum(best, channels[k][x], out=best)
    return winners


def _spread(winners: LabelArray, taps: Taps, axis: int, undecided: int) -> LabelArray:
    """Resample one axis of a map of winners; undecided where neighbours disagree."""
    first, second = taps.ends
    spread = winners.take(first, axis)
    if taps.fraction is not None:
        np.copyto(spread, undecided, where=spread != winners.take(second, axis))
    return spread


def _exact(
    channels: Sequence[FloatArray] | FloatArray,
    chosen: Sequence[int],
    plan: ResamplingPlan,
    rows: slice,
    voxels: Indices | slice,
) -> LabelArray:
    """Return the winner among chosen channels at flat indices of a slab, by the plan itself."""
    resampled = (plan.apply(channels[k], rows, None).reshape(-1)[voxels] for k in chosen)
    best = next(resampled)
    winners = np.full(best.shape, chosen[0], label_dtype(len(channels)))
    for k, scores in zip(chosen[1:], resampled, strict=True):
        np.copyto(winners, k, where=scores > best)
        best = np.maximum(best, scores)
    return winners


def _solve(
    channels: Sequence[FloatArray] | FloatArray,
    taps: Sequence[Taps],
    rows: slice,
    voxels: Indices,
    margin: float,
) -> tuple[LabelArray, npt.NDArray[np.bool_]]:
    """Return the winners at flat indices of a slab, and the channels (K,) close at undecided ones.

    A channel whose largest score among the neighbours is below what another has at least is out.
    """
    count, shape = len(channels), channels[0].shape
    at = np.unravel_index(voxels, (rows.stop - rows.start, len(taps[1].base), len(taps[2].base)))
    at = (at[0] + rows.start, at[1], at[2])
    base = [each.base[index] for each, index in zip(taps, at, strict=True)]
    low = base[0].min()
    planes = slice(low, base[0].max() + 2)
    position = ((base[0] - low) * shape[1] + base[1]) * shape[2] + base[2]
    seen = np.zeros(channels[0][planes].size, bool)
    seen[position] = True
    cells = np.flatnonzero(seen)
    cell = (np.cumsum(seen) - 1)[position]

    corners, fractions = cells[None], []
    for each, index, step in zip(taps, at, (shape[1] * shape[2], shape[2], 1), strict=True):
        if each.fraction is not None:
            corners = np.concatenate([corners, corners + step])
            fractions.append(each.fraction[index])
    lower, upper = np.empty((2, count, len(cells)), np.float32)
    for k, channel in enumerate(channels):
        around = channel[planes].reshape(-1)[corners]
        around.min(axis=0, out=lower[k])
        around.max(axis=0, out=upper[k])
    able = upper >= lower.max(axis=0) - margin
    reach = np.where(able, np.maximum(upper, -lower), 0).max(axis=0)

    best, second = np.full((2, len(voxels)), -np.inf)
    winners = np.zeros(len(voxels), label_dtype(count))
    for k in np.flatnonzero(able.any(axis=1)).tolist():
        here = np.flatnonzero(able[k][cell])
        around = channels[k][planes].reshape(-1)[corners[:, cell[here]]].astype(np.float64)
        for fraction in reversed(fractions):  # the last axis is in the two halves
            half = len(around) // 2
            around = around[:half] + fraction[here] * (around[half:] - around[:half])
        value, before = around[0], best[here]
        winners[here[value > before]] = k
        second[here] = np.maximum(second[here], np.minimum(value, before))
        best[here] = np.maximum(value, before)
    close = best - second <= (MARGIN * reach + TINY)[cell]
    winners[close] = count
    return winners, able[:, cell[close]].any(axis=1)
