"""Moving a volume into the network's frame, and results back out of it.

Each function returns the new volume and a record. A record's ``undo`` takes an array whose last
three axes are the new grid and returns it on the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from nibabel.affines import apply_affine

from deepseg_lite.steps.interpolation import (
    Interpolation,
    ResamplingPlan,
    centre_matrix,
    plan_resampling,
)
from deepseg_lite.volume import AnyArray, FloatArray, Spacing, Volume, check_grid

SLAB_VOXELS = 2**19
"""Voxels (over all channels) of scores that are on the fine grid at a time."""


@dataclass(frozen=True)
class Resampled:
    """Record of `resample`: how scores get back to the old grid, channel by channel."""

    plan: ResamplingPlan | None

    def undo(self, scores: AnyArray) -> AnyArray:
        """Return scores (K, X', Y', Z') on the old grid, (K, X, Y, Z)."""
        return np.concatenate(list(self.undo_slabs(scores)), axis=-3)

    def undo_slabs(
        self, scores: FloatArray, *, slab_voxels: int = SLAB_VOXELS
    ) -> Iterator[FloatArray]:
        """Yield scores (K, X', Y', Z') on the old grid as consecutive slabs (K, x, Y, Z).

        The whole fine-grid array never exists; what is made of the slabs is up to the caller.
        """
        if self.plan is None:
            for rows in slab_rows(scores.shape[1:], len(scores), slab_voxels):
                yield scores[:, rows]
            return
        y, z = self.plan.new_shape[1:]
        bounds = [self.plan.bounds(channel) for channel in scores]
        for rows in slab_rows(self.plan.new_shape, len(scores), slab_voxels):
            slab = np.empty((len(scores), rows.stop - rows.start, y, z), scores.dtype)
            for k, channel in enumerate(scores):
                working = channel.astype(np.float32, copy=False)
                slab[k] = self.plan.apply(working, rows, bounds[k])
            yield slab

    def parts(self, rows: Iterable[FloatArray]) -> Iterator[tuple[Resampled, FloatArray]]:
        """Divide the way back into parts, each as soon as the scores it needs are there.

        Parameters
        ----------
        rows : iterable of arrays of shape (K, x', Y', Z')
            Consecutive rows of the scores, all of them; they may be overwritten when the next
            ones are asked for.

        Yields
        ------
        part : Resampled
            What gives the next rows of the old grid.
        scores : array of shape (K, x', Y', Z')
            The rows that it makes them of.
        """
        if self.plan is None:
            yield from ((self, scores) for scores in rows)
            return
        low, high = self.plan.reach()
        done = begin = 0
        kept: FloatArray | None = None
        for new in rows:
            kept = new if kept is None else np.concatenate([kept, new], axis=1)
            end = begin + kept.shape[1]
            ready = int(np.searchsorted(high, end, side="right"))
            if ready > done:
                needed = slice(int(low[done]), int(high[ready - 1]))
                scores = kept[:, needed.start - begin : needed.stop - begin]
                yield Resampled(self.plan.part(slice(done, ready), needed)), scores
                done = ready
            left = min(int(low[done]), end) if done < len(low) else end
            kept, begin = kept[:, left - begin :].copy(), left


def slab_rows(
    shape: tuple[int, ...], channel_count: int, slab_voxels: int = SLAB_VOXELS
) -> list[slice]:
    """Return the rows of the first of (X, Y, Z) that are resampled at a time."""
    thickness = max(1, slab_voxels // (channel_count * shape[1] * shape[2]))
    return [slice(*ends) for ends in pairwise([*range(0, shape[0], thickness), shape[0]])]


def resample(
    volume: Volume,
    spacing: tuple[float | None, ...],
    image: Interpolation,
    scores: Interpolation,
) -> tuple[Volume, Resampled]:
    """Resample a volume to a new voxel spacing.

    The grid keeps its corners; the shape is ``round(shape * old / new)``, ties to even.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    spacing : tuple of 3
        Target voxel size in mm, axis order of ``volume.data``; None keeps the volume's.
    image, scores : Interpolation
        How intensities get to the new grid, and scores back from it.

    Returns
    -------
    resampled : Volume
        Data of shape (C, X', Y', Z'), float32.
    record : Resampled
        ``record.undo_slabs`` maps scores back.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``preprocessing/resampling/default_resampling.py``; checked by
    ``tests/parity/test_resampling.py``. The affine follows the shapes, ``spacing`` the target:
    nnU-Net takes its decisions on the target.
    """
    pairs = zip(spacing, volume.spacing, strict=True)
    x, y, z = (old if new is None else float(new) for new, old in pairs)
    target: Spacing = (x, y, z)
    shape = tuple(
        max(1, round(old / new * size))
        for old, new, size in zip(volume.spacing, target, volume.shape, strict=True)
    )
    check_grid(shape, target)
    scale = np.divide(volume.shape, shape)
    affine = volume.affine @ np.diag([*scale, 1.0])
    affine[:3, 3] = apply_affine(volume.affine, (scale - 1) / 2)
    if not len(volume.data):  # a plan wants the grid alone
        return Volume(np.empty((0, *shape), np.float32), affine, target), Resampled(None)
    forward = plan_resampling(volume.shape, shape, volume.spacing, target, image)
    backward = plan_resampling(shape, volume.shape, target, volume.spacing, scores)
    if forward is None:
        return Volume(volume.data, volume.affine, target), Resampled(backward)
    data = np.empty((len(volume.data), *shape), np.float32)
    for c, channel in enumerate(volume.data):
        double = channel.astype(np.float64)
        data[c] = forward.apply(double, slice(0, shape[0]), forward.bounds(double))
    return Volume(data, affine, target), Resampled(backward)


IMAGE_ORDER, SCORE_ORDER = 2, 1


def zoom(volume: Volume, spacing: Sequence[float | None]) -> tuple[Volume, Resampled]:
    """Resample a volume with quadratic splines; its record undoes that linearly.

    An axis of n voxels gets ``round(n * old / new)``, ties to even; the outer voxel centres stay
    in place, so the real spacing differs a little from the one asked for.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    spacing : sequence of 3 floats or None
        Target voxel size in mm, axis order of ``volume.data``; None leaves the axis as it is, which
        resamples a 2-D network's slices one by one.

    Returns
    -------
    zoomed : Volume
        Data of shape (C, X', Y', Z'), float32; ``spacing`` is the target.
    record : Resampled
        ``record.undo`` and ``record.undo_slabs`` map scores (K, X', Y', Z') back.

    Notes
    -----
    Source: ivadomed 2.9.10, ``transforms.Resample``, that is ``scipy.ndimage.zoom`` with order 2
    and back with order 1, and with voxel sizes as the header holds them, in single precision;
    checked by ``tests/parity/test_ivadomed.py``.
    """
    target: list[float] = []
    shape: list[int] = []
    for size, old, new in zip(volume.shape, volume.spacing, spacing, strict=True):
        target.append(old if new is None else float(new))
        factor = 1.0 if new is None else float(np.float32(old)) / new
        shape.append(max(1, round(size * factor)))
    check_grid(shape, target)
    data = np.empty((len(volume.data), *shape), np.float32)
    for c, channel in enumerate(volume.data):
        forward = _plan(volume.shape, shape, IMAGE_ORDER)
        data[c] = forward.apply(channel.astype(np.float64), slice(0, shape[0]), None)
    steps = [
        (old - 1) / (new - 1) if new > 1 else 1.0
        for old, new in zip(volume.shape, shape, strict=True)
    ]
    kept: Spacing = (target[0], target[1], target[2])
    zoomed = Volume(data, volume.affine @ np.diag([*steps, 1.0]), kept)
    if not len(data):  # a plan wants the grid alone
        return zoomed, Resampled(None)
    return zoomed, Resampled(_plan(shape, volume.shape, SCORE_ORDER))


def _plan(shape: Sequence[int], new_shape: Sequence[int], order: int) -> ResamplingPlan:
    x, y, z = (
        None if old == new else centre_matrix(old, new, order)
        for old, new in zip(shape, new_shape, strict=True)
    )
    return ResamplingPlan((x, y, z), tuple(new_shape), separate=None, clip=False)
