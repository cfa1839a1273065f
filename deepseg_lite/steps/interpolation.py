"""Spline resampling of one axis at a time, as matrix products.

Interpolation on a grid is linear and separable: each axis has one matrix, found once by zooming
the unit vectors, and a volume is resampled by three matrix products. Splines above order 1
overshoot, and skimage clips what overshoots to the input's range; so does `ResamplingPlan.apply`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from deepseg_lite.volume import FloatArray

Indices = npt.NDArray[np.intp]
FEW = 2
"""Voxels that a linear mean is made of, along one axis."""
ANISOTROPY_THRESHOLD = 3.0
"""A spacing over this many times the smallest is treated apart (nnunetv2 ``ANISO_THRESHOLD``)."""


@dataclass(frozen=True)
class Interpolation:
    """Spline order in general, and for a low-resolution axis when that is treated apart."""

    order: int
    separate_axis: str
    separate_order: int


@dataclass(frozen=True, eq=False)
class ResamplingPlan:
    """Resampling of one grid to another: a matrix per axis, None where the axis keeps its length.

    ``separate`` is the axis that is resampled last, after the others were clipped slice by slice.
    """

    matrices: tuple[FloatArray | None, FloatArray | None, FloatArray | None]
    new_shape: tuple[int, ...]
    separate: int | None
    clip: bool

    def bounds(self, array: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Return the range that (X, Y, Z) may not leave, overall or per slice; None for any."""
        if not self.clip:
            return None
        axes = tuple(axis for axis in range(3) if axis != self.separate)
        return array.min(axis=axes, keepdims=True), array.max(axis=axes, keepdims=True)

    def reach(self) -> tuple[Indices, Indices]:
        """Return for each row of the result's first axis the first row it needs, and the end.

        What is clipped needs the range of all of them; where rows are made of none, all are taken
        together, too.
        """
        first, count = self.matrices[0], self.new_shape[0]
        if first is None:
            first = np.eye(count)
        used = first != 0
        if self.clip or not used.any(axis=1).all():
            return np.zeros(count, np.intp), np.full(count, first.shape[1])
        return used.argmax(axis=1), first.shape[1] - used[:, ::-1].argmax(axis=1)

    def part(self, rows: slice, needed: slice) -> ResamplingPlan:
        """Return what makes some rows of the result of the rows they need; see `reach`."""
        first, second, third = self.matrices
        part = None if first is None else first[rows, needed]
        shape = (rows.stop - rows.start, *self.new_shape[1:])
        return replace(self, matrices=(part, second, third), new_shape=shape)

    def apply(
        self, array: FloatArray, rows: slice, bounds: tuple[FloatArray, FloatArray] | None
    ) -> FloatArray:
        """Resample an array, or the part of the result that ``rows`` of its first axis name.

        Parameters
        ----------
        array : array of shape (X, Y, Z)
            float32 or float64; the products are computed in its type.
        rows : slice
            Indices of the result's first axis, start and stop given.
        bounds : pair of arrays or None
            What `bounds` returned for the whole array.

        Returns
        -------
        resampled : array of shape (rows, Y', Z')
        """
        first = self.matrices[0]
        if first is None:
            array = array[rows]
            if bounds is not None and self.separate == 0:
                bounds = (bounds[0][rows], bounds[1][rows])
        else:
            first = first[rows]
            needed = np.flatnonzero(first.any(axis=0))
            part = slice(needed[0], needed[-1] + 1) if len(needed) else slice(0, 1)
            first, array = first[:, part], array[part]
            if bounds is not None and self.separate == 0:
                bounds = (bounds[0][part], bounds[1][part])
        matrices = (first, *self.matrices[1:])
        for axis in range(3):
            if axis != self.separate:
                array = _along(matrices[axis], array, axis)
        if bounds is not None:
            array = np.clip(array, *bounds)
        if self.separate is not None:
            array = _along(matrices[self.separate], array, self.separate)
        return array


def _along(matrix: FloatArray | None, array: FloatArray, axis: int) -> FloatArray:
    """Multiply one axis of (X, Y, Z) by a matrix (new, old)."""
    if matrix is None:
        return array
    matrix = matrix.astype(array.dtype, copy=False)
    if axis == 0:
        if np.count_nonzero(matrix, axis=1).max() <= FEW:
            return _combined(matrix, array)
        product = matrix @ array.reshape(len(array), -1)
        return product.reshape(len(matrix), *array.shape[1:])
    return matrix @ array if axis == 1 else array @ matrix.T


def _combined(matrix: FloatArray, array: FloatArray) -> FloatArray:
    """Do the same for the first axis row by row, for a matrix that is mostly zeros.

    So a row is the same to the last bit whatever rows are asked for beside it: how BLAS adds up
    depends on the shapes of matrices.
    """
    rows = np.zeros((len(matrix), *array.shape[1:]), array.dtype)
    for row, weights in zip(rows, matrix, strict=True):
        for index in np.flatnonzero(weights):  # none beyond the ends of some grids
            row += array[index] * weights[index]
    return rows


def plan_resampling(
    shape: tuple[int, ...],
    new_shape: tuple[int, ...],
    spacing: tuple[float, ...],
    new_spacing: tuple[float, ...],
    interpolation: Interpolation,
) -> ResamplingPlan | None:
    """Prepare the way from one grid to another; None when they are the same.

    Parameters
    ----------
    shape, new_shape : tuple of 3 ints
        Voxels per axis.
    spacing, new_spacing : tuple of 3 floats
        mm; they only decide which axis is treated apart.
    interpolation : Interpolation
        Spline orders and the rule for the low-resolution axis.
    """
    if tuple(shape) == tuple(new_shape):
        return None
    separate = separate_axis(interpolation.separate_axis, spacing, new_spacing)
    orders = [interpolation.order] * 3
    if separate is not None:
        orders[separate] = interpolation.separate_order
    x, y, z = (
        None if old == new else axis_matrix(old, new, order)
        for old, new, order in zip(shape, new_shape, orders, strict=True)
    )
    return ResamplingPlan((x, y, z), tuple(new_shape), separate, clip=interpolation.order > 1)


def separate_axis(
    mode: str, spacing: tuple[float, ...], new_spacing: tuple[float, ...]
) -> int | None:
    """Return the axis to treat apart, or None.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``preprocessing/resampling/default_resampling.py``,
    ``determine_do_sep_z_and_axis``: the first of the two spacings that is anisotropic decides, and
    an axis counts only when it alone has the largest spacing.
    """
    if mode == "never":
        return None
    for candidate in (spacing, new_spacing):
        if mode == "always" or max(candidate) / min(candidate) > ANISOTROPY_THRESHOLD:
            low_resolution = [axis for axis in range(3) if max(candidate) / candidate[axis] == 1]
            return low_resolution[0] if len(low_resolution) == 1 else None
    return None


@lru_cache(maxsize=32)
def axis_matrix(size: int, new_size: int, order: int) -> FloatArray:
    """Return the matrix (new_size, size) that resamples one axis; voxel edges stay aligned.

    Notes
    -----
    Source: skimage ``transform.resize(mode="edge", anti_aliasing=False)``, that is
    ``scipy.ndimage.zoom(mode="nearest", grid_mode=True)``; nearest neighbour as
    ``scipy.ndimage.map_coordinates`` rounds it.
    """
    if order == 0:
        centres = float(size) / new_size * (np.arange(new_size) + 0.5) - 0.5
        nearest = np.clip(np.floor(centres + 0.5).astype(int), 0, size - 1)
        matrix = np.zeros((new_size, size))
        matrix[np.arange(new_size), nearest] = 1
        return matrix
    columns = [
        scipy.ndimage.zoom(unit, new_size / size, order=order, mode="nearest", grid_mode=True)
        for unit in np.eye(size)
    ]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=32)
def centre_matrix(size: int, new_size: int, order: int) -> FloatArray:
    """Return the matrix (new_size, size) that resamples one axis; outer voxel centres stay.

    Notes
    -----
    Source: ``scipy.ndimage.zoom`` with its default settings, which it calls: rounding may put the
    last position beyond the axis, where it gives 0, and this must give that, too.
    """
    columns = [scipy.ndimage.zoom(unit, new_size / size, order=order) for unit in np.eye(size)]
    return np.stack(columns, axis=1)
