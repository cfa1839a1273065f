"""Resampling by shapes: whole numbers of voxels are chosen first, and the affine follows them.

The first voxel's centre stays in place. `deepseg_lite.steps.resample.resample` keeps the corners of
the field of view instead, and `deepseg_lite.steps.respace.respace` the voxel size asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from nibabel.affines import to_matvec, voxel_sizes

from deepseg_lite.steps.affine_arithmetic import inverse, product
from deepseg_lite.volume import Affine, AnyArray, Shape, Volume, check_grid


@dataclass(frozen=True, eq=False)
class Resized:
    """Record of `resize`.

    Attributes
    ----------
    matrix : array of shape (4, 4)
        Voxel indices of the old grid to those of the new one, in the order x, y, z.
    shape : tuple of 3 ints
        Of the old grid, in the frame's order.
    axes : str
        Order of the frame's axes.
    """

    matrix: Affine
    shape: Shape
    axes: str

    def undo(self, array: AnyArray) -> AnyArray:
        """Return an array of shape (..., X', Y', Z') on the old grid, (..., X, Y, Z).

        Whole numbers stay whole: they are interpolated in double precision and then rounded, a
        half up. All else becomes float32.
        """
        kind = array.dtype if np.issubdtype(array.dtype, np.integer) else np.dtype(np.float32)
        back = np.empty((*array.shape[:-3], *self.shape), kind)
        pairs = zip(
            array.reshape(-1, *array.shape[-3:]), back.reshape(-1, *self.shape), strict=True
        )
        for source, target in pairs:
            _pull(source, self.matrix, target, self.axes)
        return back


def resize(volume: Volume, spacing: Sequence[float | None], *, axes: str) -> tuple[Volume, Resized]:
    """Resample a volume linearly to about a voxel size.

    An axis of n voxels gets ``round(n * old / new)``, ties to even, and the ratio of the two
    numbers is how much its voxels change. Beyond the last voxels their values go on.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    spacing : sequence of 3 floats or None
        Voxel size to come close to, in mm, in the frame's order; None leaves the axis as it is.
    axes : str
        Order of the frame's axes, such as ``"zxy"``. Sums are taken in the order x, y, z: results
        on the way back are often halves up to the last bit, which that order decides.

    Returns
    -------
    resized : Volume
        Data of shape (C, X', Y', Z'), float32.
    record : Resized
        ``record.undo`` maps arrays (..., X', Y', Z') back.

    Notes
    -----
    Source: the Spinal Cord Toolbox, main branch of August 2026, ``resampling.resample_nib`` with
    sizes in mm, around nibabel's ``resample_from_to``; checked by ``tests/parity/test_keras.py``.
    """
    shape = [
        size if new is None else max(1, round(size * old / new))
        for size, old, new in zip(volume.shape, volume.spacing, spacing, strict=True)
    ]
    check_grid(shape, spacing)
    stored = _stored(axes)
    ratio = np.divide(volume.shape, shape)
    order = [*stored, 3]
    old = np.asarray(volume.affine, np.float64)[:, order]
    new = old @ np.diag([*ratio[stored], 1.0])
    data = np.empty((len(volume.data), *shape), np.float32)
    for source, target in zip(volume.data, data, strict=True):
        _pull(source, product(inverse(old), new), target, axes)
    again = new @ np.diag([*np.divide(shape, volume.shape)[stored], 1.0])
    affine = np.empty((4, 4))
    affine[:, order] = new
    x, y, z = (float(size) for size in voxel_sizes(affine))
    return (
        Volume(data, affine, (x, y, z)),
        Resized(product(inverse(new), again), volume.shape, axes),
    )


def _stored(axes: str) -> list[int]:
    """Return where the axes x, y and z are in a frame."""
    return [axes.index(letter) for letter in "xyz"]


def _pull(source: AnyArray, matrix: Affine, target: AnyArray, axes: str) -> None:
    """Fill an array (X', Y', Z') with what another (X, Y, Z) has at its voxels.

    ``matrix`` maps voxel indices of the target to those of the source, in the order x, y, z. It is
    not reduced to its diagonal, and nothing is computed slab by slab: both change the last bit.
    """
    stored = _stored(axes)
    turn, shift = to_matvec(matrix)
    scipy.ndimage.affine_transform(
        source.transpose(stored),
        turn,
        shift,
        output=target.transpose(stored),
        order=1,
        mode="nearest",
    )
