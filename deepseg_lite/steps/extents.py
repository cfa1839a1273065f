"""Extents: the largest grids that steps can leave whose result depends on voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepseg_lite.volume import Volume


def whole(volume: Volume, **_: Any) -> Volume:
    """Return the volume itself: at most it is kept whole."""
    return volume


def foreground(
    volume: Volume, *, margin: Sequence[int], inside: bool, multiple: Sequence[int], **_: Any
) -> Volume:
    """Return the whole volume with the margin, in whole multiples."""
    sizes = volume.shape if inside else np.add(volume.shape, np.multiply(2, margin)).tolist()
    return resized(volume, [-(-size // of) * of for size, of in zip(sizes, multiple, strict=True)])


def prior(
    volume: Volume,
    *,
    safety_factor: Sequence[float],
    patch_size: Sequence[int],
    stride: Sequence[int],
) -> Volume:
    """Return the box of a prior that fills the volume."""
    sizes = []
    for size, factor, patch, step in zip(
        volume.shape, safety_factor, patch_size, stride, strict=True
    ):
        size = max(round(size * factor), patch)
        sizes.append(size + (patch - size) % step)
    return resized(volume, sizes)


def resized(volume: Volume, shape: Sequence[int]) -> Volume:
    """Return a volume without channels of another shape."""
    return Volume(np.empty((0, *shape), np.float32), volume.affine, volume.spacing)
