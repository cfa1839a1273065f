"""Moving a volume into the network's frame, and results back out of it.

Each function returns the new volume and a record. A record's ``undo`` takes an array whose last
three axes are the new grid and returns it on the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage

from deepseg_lite.interpolation import Interpolation, ResamplingPlan, plan_resampling
from deepseg_lite.volume import AnyArray, FloatArray, Spacing, Volume

SLAB_VOXELS = 2**21
"""Voxels (over all channels) of scores that are on the fine grid at a time."""


@dataclass(frozen=True)
class Framed:
    """Record of `to_frame`: new axis i is old axis ``source[i]``, reversed if ``flipped[i]``."""

    source: tuple[int, ...]
    flipped: tuple[bool, ...]

    def undo(self, array: AnyArray) -> AnyArray:
        """Return an array of shape (..., X', Y', Z') in the old axis order, (..., X, Y, Z)."""
        leading = array.ndim - 3
        reversing: tuple[Any, ...] = (..., *_reversing(self.flipped))
        array = array[reversing]
        back = [leading + self.source.index(axis) for axis in range(3)]
        return np.ascontiguousarray(array.transpose(*range(leading), *back))


def to_frame(volume: Volume, orientation: str | None, axes: str) -> tuple[Volume, Framed]:
    """Reorient a volume and put its axes in the order the network sees, without interpolation.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    orientation : str or None
        Axis codes to bring the image to, nibabel's convention; None keeps the image's own.
    axes : str
        Order of the oriented axes, e.g. ``"zyx"``.

    Returns
    -------
    framed : Volume
        A view; nothing is copied.
    record : Framed
        ``record.undo`` maps (..., X', Y', Z') back.
    """
    current = io_orientation(volume.affine)
    target = current if orientation is None else axcodes2ornt(orientation)
    transform = ornt_transform(current, target)  # per old axis: new axis, direction
    order = ["xyz".index(letter) for letter in axes]
    oriented_source = [int(np.flatnonzero(transform[:, 0] == axis)[0]) for axis in range(3)]
    source = tuple(oriented_source[axis] for axis in order)
    flipped = tuple(bool(transform[axis, 1] < 0) for axis in source)

    data = volume.data.transpose(0, *(axis + 1 for axis in source))
    data = data[(slice(None), *_reversing(flipped))]
    x, y, z = (volume.spacing[axis] for axis in source)
    signed = np.zeros((4, 4))  # new voxel indices -> old ones
    signed[3, 3] = 1
    for new, old in enumerate(source):
        signed[old, new] = -1 if flipped[new] else 1
        signed[old, 3] = data.shape[new + 1] - 1 if flipped[new] else 0
    return Volume(data, volume.affine @ signed, (x, y, z)), Framed(source, flipped)


def _reversing(flipped: tuple[bool, ...]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if flip else 1) for flip in flipped)


@dataclass(frozen=True)
class Cropped:
    """Record of a crop: where the box starts, and the shape it was cut from."""

    start: tuple[int, ...]
    shape: tuple[int, ...]

    def undo(self, array: AnyArray) -> AnyArray:
        """Put an array of shape (..., X', Y', Z') back into zeros of shape (..., X, Y, Z)."""
        full = np.zeros((*array.shape[:-3], *self.shape), array.dtype)
        box = [slice(a, a + n) for a, n in zip(self.start, array.shape[-3:], strict=True)]
        inside: tuple[Any, ...] = (..., *box)
        full[inside] = array
        return full


def nonzero_mask(data: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return where any channel of (C, X, Y, Z) is not zero, enclosed holes filled.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``preprocessing/cropping/cropping.py``, ``create_nonzero_mask``.
    """
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (data != 0).any(axis=0)
    return mask if mask.all() else ndimage.binary_fill_holes(mask)


def crop_to_nonzero(volume: Volume) -> tuple[Volume, Cropped]:
    """Crop to the bounding box of the voxels that are not zero in some channel.

    Filling holes cannot move the bounding box, so the mask itself is enough.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``preprocessing/cropping/cropping.py``, ``crop_to_nonzero``; checked by
    ``tests/parity/test_parts.py``.
    """
    mask = (volume.data != 0).any(axis=0)
    box: tuple[slice, ...] = (slice(0, None),) * 3
    if mask.any():
        box = ndimage.find_objects(mask.astype(np.uint8))[0]
    start = tuple(part.start for part in box)
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, start)
    cropped = Volume(volume.data[(slice(None), *box)], affine, volume.spacing)
    return cropped, Cropped(start, volume.shape)


@dataclass(frozen=True)
class Resampled:
    """Record of `resample`: how scores get back to the old grid, channel by channel."""

    plan: ResamplingPlan | None

    def undo(self, scores: AnyArray) -> AnyArray:
        """Return scores (K, X', Y', Z') on the old grid, (K, X, Y, Z)."""
        return np.concatenate(list(self.undo_slabs(scores)), axis=-3)

    def undo_slabs(self, scores: FloatArray) -> Iterator[FloatArray]:
        """Yield scores (K, X', Y', Z') on the old grid as consecutive slabs (K, x, Y, Z).

        The whole fine-grid array never exists; what is made of the slabs is up to the caller.
        """
        if self.plan is None:
            for rows in slab_rows(scores.shape[1:], len(scores)):
                yield scores[:, rows]
            return
        y, z = self.plan.new_shape[1:]
        bounds = [self.plan.bounds(channel) for channel in scores]
        for rows in slab_rows(self.plan.new_shape, len(scores)):
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


def slab_rows(shape: tuple[int, ...], channel_count: int) -> list[slice]:
    """Return the rows of the first of (X, Y, Z) that are resampled at a time."""
    thickness = max(1, SLAB_VOXELS // (channel_count * shape[1] * shape[2]))
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
    forward = plan_resampling(volume.shape, shape, volume.spacing, target, image)
    backward = plan_resampling(shape, volume.shape, target, volume.spacing, scores)
    if forward is None:
        return Volume(volume.data, volume.affine, target), Resampled(backward)
    data = np.empty((len(volume.data), *shape), np.float32)
    for c, channel in enumerate(volume.data):
        double = channel.astype(np.float64)
        data[c] = forward.apply(double, slice(0, shape[0]), forward.bounds(double))
    scale = np.divide(volume.shape, shape)
    affine = volume.affine @ np.diag([*scale, 1.0])
    affine[:3, 3] = apply_affine(volume.affine, (scale - 1) / 2)
    return Volume(data, affine, target), Resampled(backward)
