"""Steps after the network on maps that stay apart: one map for each class, which may overlap.

Source of all of it: ivadomed 2.9.10, ``postprocessing.py``; checked by
``tests/parity/test_ivadomed.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepseg_lite import components
from deepseg_lite.volume import AnyArray, Spacing

HALF = 0.5


def binarize_maximum(maps: AnyArray) -> AnyArray:
    """Return 1 where a class has the largest value, uint8, for maps of shape (L, X, Y, Z).

    Background takes part with 1 minus the sum of all classes; it wins ties, then the first class.
    """
    background = np.ones(maps.shape[1:])
    for each in maps:
        background -= each
    winner = np.concatenate([background[None], maps]).argmax(axis=0)
    classes = np.arange(1, len(maps) + 1).reshape(-1, 1, 1, 1)
    largest: AnyArray = winner == classes
    return largest.astype(np.uint8)


def keep_largest(maps: AnyArray) -> AnyArray:
    """Keep the largest object of all maps (L, X, Y, Z) together; values stay.

    Neighbours share a face, or are the same voxel in neighbouring classes. Values below 0.001 do
    not connect and become 0; ties go to what comes first in the order of X, Y, Z, L.
    """
    return np.moveaxis(components.keep_largest(np.moveaxis(maps, 0, -1)), -1, 0)


def fill_holes(maps: AnyArray) -> AnyArray:
    """Binarise maps (L, X, Y, Z) at 0.5 and fill the holes of each; uint8."""
    return np.stack([components.fill_holes(mask.astype(np.uint8)) for mask in maps >= HALF])


def remove_small(
    maps: AnyArray, minimum: Sequence[int], unit: str, *, image_spacing: Spacing
) -> AnyArray:
    """Set objects that are too small to 0, class by class; faces and edges connect.

    Parameters
    ----------
    maps : array of shape (L, X, Y, Z)
        Anything but 0 is foreground.
    minimum : sequence of int
        Smallest object that stays, per class, or one number for all.
    unit : {"vox", "mm3"}
        Of ``minimum``; mm3 are rounded to whole voxels, ties to even.
    image_spacing : tuple of 3 floats
        Voxel size in mm.

    Returns
    -------
    kept : array of shape (L, X, Y, Z)
    """
    voxel = float(np.prod(image_spacing)) if unit == "mm3" else 1.0
    sizes = [round(size / voxel) for size in minimum] * (len(maps) if len(minimum) == 1 else 1)
    pairs = zip(maps, sizes, strict=True)
    return np.stack([components.remove_small(each, size) for each, size in pairs])
