"""Reading an image at the voxels of another grid, with the conventions of MONAI's resampling.

Two back ends do the work there and differ at the border, in what aligned corners mean, and in
rounding: torch's ``grid_sample`` (nearest, linear) and ``scipy.ndimage`` (splines).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy

from deepseg_lite.steps.pairs import Pairs
from deepseg_lite.volume import Affine, AnyArray, FloatArray

SLAB_VOXELS = 2**21
"""Voxels whose coordinates exist at a time; splines need all of them at once."""
CACHED_VOXELS = 2**15
"""Voxels that are sampled at a time where one axis is sampled after the other."""
STRAIGHT = 1e-12
"""Largest share of another axis, of images that are from -1 to 1, that no linear mean sees."""

_NDIMAGE_MODES = {
    False: {"zeros": "grid-constant", "border": "nearest", "reflection": "reflect"},
    True: {"zeros": "grid-constant", "border": "nearest", "reflection": "mirror"},
}
"""Padding of linear ``grid_sample`` outside the image, by whether corners are aligned."""


@dataclass(frozen=True)
class Sampling:
    """Sampling: the way to values between and outside voxels.

    Attributes
    ----------
    method : {"nearest", "linear", "spline"}
        The first two as torch's ``grid_sample``, splines as ``scipy.ndimage``.
    order : int
        Of the spline, 0 to 5; 0 for nearest, 1 for linear.
    padding : str
        Outside the image: ``zeros``, ``border`` or ``reflection``; for splines a mode of
        ``scipy.ndimage.map_coordinates``.
    align_corners : bool
        Whether -1 and 1 mean the centres of corner voxels rather than their outer edges.
    """

    method: str
    order: int
    padding: str
    align_corners: bool


def pull(
    arrays: AnyArray,
    matrix: Affine,
    shape: Sequence[int],
    sampling: Sampling,
    *,
    slab_voxels: int = SLAB_VOXELS,
) -> FloatArray:
    """Sample images of one grid on another.

    Parameters
    ----------
    arrays : array of shape (C, X, Y, Z)
        The images.
    matrix : array of shape (4, 4)
        Voxel indices of the new grid to those of the images.
    shape : sequence of 3 ints
        Of the new grid, X', Y', Z'.
    sampling : Sampling
        Interpolation and border.
    slab_voxels : int
        Voxels whose coordinates exist at a time.

    Returns
    -------
    sampled : array of shape (C, X', Y', Z')
        float32; computed in double precision.

    Notes
    -----
    Source: MONAI 1.6.1, ``transforms/spatial/functional.py``, ``spatial_resample`` with its default
    type; checked by ``tests/parity/test_monai.py``.
    """
    old, new = arrays.shape[1:], tuple(shape)
    result = np.empty((len(arrays), *new), np.float32)
    if sampling.method == "spline":
        grid = _spline_coordinates(old, matrix, new, sampling.align_corners)
        for image, pulled in zip(arrays, result, strict=True):
            pulled[:] = scipy.ndimage.map_coordinates(
                image, grid, order=sampling.order, mode=sampling.padding
            )
        return result
    axes = _grid_axes(new, sampling.align_corners)
    theta = _normalized(old, matrix, new, sampling.align_corners)
    places = _places_along_axes(theta, axes, old, sampling)
    if places is not None and np.isfinite(arrays).all():
        _pull_along_axes(arrays, places, sampling, result, slab_voxels)
        return result
    mode = _NDIMAGE_MODES[sampling.align_corners][sampling.padding]
    for rows in _slabs(new, slab_voxels):
        grid = _affine_grid(theta, (axes[0][rows], *axes[1:]), (2, 1, 0))
        for coordinates, size in zip(grid, old, strict=True):
            coordinates[:] = _to_index(coordinates, size, sampling)
        if sampling.method == "nearest":
            inside, nearest = _nearest(grid, old, sampling)
        for image, pulled in zip(arrays, result, strict=True):
            if sampling.method == "nearest":
                pulled[rows] = np.where(inside, image.reshape(-1)[nearest], 0)
            else:
                pulled[rows] = scipy.ndimage.map_coordinates(image, grid, order=1, mode=mode)
    return result


def _slabs(shape: Sequence[int], voxels: int) -> list[slice]:
    """Return the rows of the first axis that are sampled at a time."""
    thickness = max(1, voxels // max(1, shape[1] * shape[2]))
    return [slice(*ends) for ends in pairwise([*range(0, shape[0], thickness), shape[0]])]


def _places_along_axes(
    theta: FloatArray, axes: Sequence[FloatArray], old: Sequence[int], sampling: Sampling
) -> list[FloatArray] | None:
    """Return the indices into each axis of the image, None where they are not those of one axis.

    A linear mean does not see what is left of a turn forth and back. A nearest voxel may: half-way
    between two, the last bit decides.
    """
    across = theta[:3, :3] * (1 - np.eye(3))
    if np.abs(across).max() > (STRAIGHT if sampling.method == "linear" else 0):
        return None
    return [
        _to_index(axis * theta[a, a] + theta[a, 3], size, sampling)
        for a, (axis, size) in enumerate(zip(axes, old, strict=True))
    ]


def _pull_along_axes(
    arrays: AnyArray,
    places: Sequence[FloatArray],
    sampling: Sampling,
    result: FloatArray,
    slab_voxels: int,
) -> None:
    """Sample images one axis after the other, where the axes of both grids are parallel."""
    old, new = arrays.shape[1:], result.shape[1:]
    if sampling.method == "nearest":
        found = [_nearest([at], [size], sampling) for at, size in zip(places, old, strict=True)]
        for image, pulled in zip(arrays, result, strict=True):
            pulled[:] = image[np.ix_(*(nearest for _, nearest in found))]
            for axis, (inside, _) in enumerate(found):
                pulled.swapaxes(0, axis)[~inside] = 0
        return
    mode = _NDIMAGE_MODES[sampling.align_corners][sampling.padding]
    first, *others = (Pairs.of(at, size, mode) for at, size in zip(places, old, strict=True))
    for image, pulled in zip(arrays, result, strict=True):
        image = np.ascontiguousarray(image)  # `take` would copy others whole, every time
        for rows in _slabs(new, min(slab_voxels, CACHED_VOXELS)):
            slab = first.part(rows).mean(image, 0)
            for axis, pairs in enumerate(others, 1):
                slab = pairs.mean(slab, axis)
            pulled[rows] = slab


def _spline_coordinates(
    old: Sequence[int], matrix: Affine, new: Sequence[int], align_corners: bool
) -> FloatArray:
    """Return indices into the image, (3, X', Y', Z'), by way of a grid around the new centre."""
    centre = np.eye(4)
    centre[:3, 3] = [(n - 1) / 2 for n in new]
    matrix = np.asarray(_product(matrix, centre), np.float64)
    if align_corners:
        scale = np.array([*(max(n, 2) / (max(n, 2) - 1) for n in new), 1.0], np.float32)
        matrix = matrix * scale  # upstream's scale is in single precision
    axes = [_spaced(-(n - 1) / 2, (n - 1) / 2, n) for n in new]
    grid = _affine_grid(matrix, axes, (0, 1, 2))
    if align_corners:
        for coordinates, n in zip(grid, old, strict=True):
            coordinates += 0.5
            coordinates *= (max(n, 2) - 1) / max(n, 2)
    return grid


def _normalized(
    old: Sequence[int], matrix: Affine, new: Sequence[int], align_corners: bool
) -> FloatArray:
    """Return the matrix for coordinates from -1 to 1 on both grids."""
    back = np.linalg.inv(_to_unit(new, align_corners))
    return _product(_product(_to_unit(old, align_corners), matrix), back)


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    """Multiply small matrices term by term, as torch does; BLAS rounds as the processor has it."""
    product: FloatArray = (a[:, :, None] * b).sum(axis=1)
    return product


def _to_unit(shape: Sequence[int], align_corners: bool) -> FloatArray:
    """Return the matrix from voxel indices to coordinates from -1 to 1."""
    unit = np.eye(4)
    for axis, n in enumerate(shape):
        unit[axis, axis] = 2 / max(n - 1, 1) if align_corners else 2 / n
        unit[axis, 3] = -1 if align_corners else 1 / n - 1
    return unit


def _grid_axes(shape: Sequence[int], align_corners: bool) -> list[FloatArray]:
    """Return where voxels are between -1 and 1, per axis."""
    axes: list[FloatArray] = []
    for n in shape:
        axis = _spaced(-1, 1, n) if n > 1 else np.zeros(1)
        axes.append(axis if align_corners else axis * (n - 1) / n)
    return axes


def _spaced(low: float, high: float, count: int) -> FloatArray:
    """Return evenly spaced numbers, bit by bit those of ``torch.linspace``.

    Half-way between two voxels the last bit decides which one is nearest. torch adds step by step
    from both ends and rounds once; the wider type has room for that.
    """
    step = np.longdouble((high - low) / max(count - 1, 1))
    index = np.arange(count)
    ends = np.where(index < count // 2, low + step * index, high - step * (count - 1 - index))
    return ends.astype(np.float64)


def _affine_grid(
    matrix: FloatArray, axes: Sequence[FloatArray], order: Sequence[int]
) -> FloatArray:
    """Map every point of a grid by a matrix, (3, X', Y', Z'), adding up in an order of axes.

    Term by term, as `_product`: the same places on every processor.
    """
    mapped = np.empty((3, *map(len, axes)))
    for row, places in zip(matrix, mapped, strict=False):
        first, second, third = (
            axes[axis].reshape(-1, *[1] * (2 - axis)) * row[axis] for axis in order
        )
        np.add(first + second, third, out=places)
        places += row[3]
    return mapped


def _to_index(coordinates: FloatArray, size: int, sampling: Sampling) -> FloatArray:
    """Return voxel indices of coordinates from -1 to 1."""
    if sampling.align_corners:
        return (coordinates + 1) / 2 * (size - 1)
    return ((coordinates + 1) * size - 1) / 2


def _nearest(
    places: FloatArray | Sequence[FloatArray], shape: Sequence[int], sampling: Sampling
) -> tuple[AnyArray, AnyArray]:
    """Return which places have a nearest voxel, and which one of all; ties go to the even one.

    That is torch's rule. The places are overwritten.
    """
    inside = np.ones(places[0].shape, bool)
    nearest = np.zeros(places[0].shape, np.intp)
    for place, size in zip(places, shape, strict=True):
        if sampling.padding == "reflection":
            place[:] = _reflected(place, size, sampling.align_corners)
        if sampling.padding != "zeros":
            np.clip(place, 0, size - 1, out=place)
        index = np.rint(place, out=place).astype(np.intp)
        inside &= (index >= 0) & (index < size)
        nearest *= size
        nearest += np.clip(index, 0, size - 1, out=index)
    return inside, nearest


def _reflected(place: FloatArray, size: int, align_corners: bool) -> FloatArray:
    """Fold indices back into the image, at the centres or the edges of its last voxels."""
    low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
    if span == 0:
        return np.zeros_like(place)
    distance = np.abs(place - low) % (2 * span)
    folded: FloatArray = np.minimum(distance, 2 * span - distance) + low
    return folded
