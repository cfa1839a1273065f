"""Sampling of views: the line through the structure, slices through images, gray levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from deepseg_lite.volume import AnyArray

GRAYS = 64
LOW, HIGH = 1, 99.5
"""Percentiles that are black and white."""


def centre_line(labels: AnyArray) -> AnyArray:
    """Return the middle of the structures in every slice, in voxels.

    Parameters
    ----------
    labels : array of shape (S, A, L)
        0 is background.

    Returns
    -------
    centres : array of shape (S, 2)
        Row and column. Slices without a structure have those of their neighbours, linearly
        between two; the middle of the image where there is no structure at all.
    """
    count, depth, width = labels.shape
    inside = labels != 0
    by_row, by_column = inside.sum(axis=2), inside.sum(axis=1)
    voxels = by_row.sum(axis=1)
    there = np.flatnonzero(voxels)
    if not len(there):
        return np.tile([(depth - 1) / 2, (width - 1) / 2], (count, 1))
    sizes = voxels[there]
    rows = by_row[there] @ np.arange(depth) / sizes
    columns = by_column[there] @ np.arange(width) / sizes
    every = np.arange(count)
    return np.stack([np.interp(every, there, rows), np.interp(every, there, columns)], axis=1)


def sampled(array: AnyArray, grid: Sequence[AnyArray], order: int) -> AnyArray:
    """Return an array at voxel coordinates that broadcast; beyond it is 0."""
    places = np.stack(np.broadcast_arrays(*grid))
    if order == 0:
        found: AnyArray = scipy.ndimage.map_coordinates(array, places, order=0, mode="constant")
        return found
    low = np.maximum(np.floor(places.reshape(3, -1).min(axis=1)).astype(int), 0)
    high = np.ceil(places.reshape(3, -1).max(axis=1)).astype(int) + 1
    part = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    places -= low.reshape(3, *[1] * (places.ndim - 1))
    sampled: AnyArray = scipy.ndimage.map_coordinates(
        part.astype(np.float32), places, order=order, mode="constant"
    )
    return sampled


def to_gray(values: AnyArray) -> AnyArray:
    """Return intensities as gray levels of 0 to 255; few of them, so that files are small."""
    finite = values[np.isfinite(values) & (values != 0)]
    low, high = np.percentile(finite, (LOW, HIGH)) if finite.size else (0.0, 1.0)
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-9), 0, 1)
    return (np.round(share * (GRAYS - 1)) * (255 // (GRAYS - 1))).astype(np.uint8)
