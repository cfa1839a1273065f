"""Linear means along one axis: two voxels, and their weights, for each voxel of the other grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from deepseg_lite.volume import AnyArray, FloatArray

Indices = npt.NDArray[np.intp]


class Pairs(NamedTuple):
    """Two voxels of an axis for each voxel of another, and their weights in its mean.

    Attributes
    ----------
    low, high : array of shape (n,)
        Indices of the voxels.
    low_weight, high_weight : array of shape (n,)
        Their weights; 0 for a second one that is the first.
    """

    low: Indices
    high: Indices
    low_weight: FloatArray
    high_weight: FloatArray

    @classmethod
    def of(cls, places: FloatArray, size: int, mode: str) -> Pairs:
        """Return those for places on an axis, in voxels, as ``scipy.ndimage`` finds them.

        ``mode`` is one of its modes, for places beyond the ends.
        """
        unit = np.arange(size)[:, None], places[None]
        weights = scipy.ndimage.map_coordinates(
            np.eye(size), np.stack(np.broadcast_arrays(*unit)), order=1, mode=mode
        )
        used = weights != 0
        low, high = used.argmax(axis=0), size - 1 - used[::-1].argmax(axis=0)
        index = np.arange(len(places))
        once = low == high
        return cls(low, high, weights[low, index], np.where(once, 0, weights[high, index]))

    def part(self, rows: slice) -> Pairs:
        """Return those of some voxels."""
        return Pairs(self.low[rows], self.high[rows], self.low_weight[rows], self.high_weight[rows])

    def mean(self, array: AnyArray, axis: int) -> FloatArray:
        """Return means along an axis of (X, Y, Z), in double precision."""
        shape = [-1 if a == axis else 1 for a in range(3)]
        mean: FloatArray = array.take(self.low, axis) * self.low_weight.reshape(shape)
        mean += array.take(self.high, axis) * self.high_weight.reshape(shape)
        return mean
