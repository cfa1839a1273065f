"""The middle of the spinal canal: what is ordered along it, and what lies in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Centerline:
    """The middle of the spinal canal in each slice that shows it.

    Attributes
    ----------
    points : array of shape (N, 3)
        Voxels of the line, in array order (x first, then y, then z). A slice whose middle lies
        outside the canal has none.
    middle_y : array of shape (Z,)
        Middle of the canal along y, in voxels; -1 where a slice shows no canal.
    """

    points: Indices
    middle_y: Indices

    def height_of(self, voxels: Indices) -> int:
        """Return z of the point nearest to the centre of voxels, (M, 3); of the first for none."""
        if not len(voxels):
            return int(self.points[0, 2])
        apart = np.linalg.norm(self.points - voxels.mean(axis=0), axis=1)
        return int(self.points[apart.argmin(), 2])

    def is_behind(self, voxels: Indices) -> Mask:
        """Tell which voxels, of shape (M, 3), are no further front than the canal's middle."""
        behind: Mask = voxels[:, 1] <= self.middle_y[voxels[:, 2]]
        return behind


def find_centerline(canal: Mask) -> Centerline:
    """Return the middle of the canal's extents along x and y, slice by slice.

    Parameters
    ----------
    canal : array of shape (X, Y, Z)
        Canal and cord, RAS+.

    Returns
    -------
    centerline : Centerline
        Its ``points`` may be empty.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    middle_x, middle_y = (_middle(np.any(canal, axis=across)) for across in (1, 0))
    z = np.flatnonzero(middle_y >= 0)
    points = np.stack([middle_x[z], middle_y[z], z], axis=1)
    points = points[canal[tuple(points.T)]]
    return Centerline(points[np.lexsort(points.T[::-1])], middle_y)


def _middle(shadow: Mask) -> Indices:
    """Return the middle between the first and the last voxel of each column, -1 for none."""
    first = shadow.argmax(axis=0)
    last = len(shadow) - 1 - shadow[::-1].argmax(axis=0)
    middle: Indices = np.where(shadow.any(axis=0), (first + last) // 2, -1)
    return middle
