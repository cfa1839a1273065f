"""Resampling of an image on another grid, rounded bit by bit as SimpleITK does.

Labels are taken from the nearest voxel. Where slices of 2 mm meet a grid of 1 mm every voxel is
half-way between two, and rounding alone decides; hence ITK's own order of operations here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepseg_lite.errors import ImageError
from deepseg_lite.volume import Affine, AnyArray, FloatArray, Shape
from deepseg_lite.workflows.spine.svd import invert

SLAB_VOXELS = 2**17
"""Voxels whose places exist at a time; they should fit the processor's cache."""

_TO_LPS = np.array([-1.0, -1.0, 1.0])  # and back


@dataclass(frozen=True, eq=False)
class Frame:
    """Grid of voxels as ITK describes it: x grows to the left and y to the back of the patient.

    Attributes
    ----------
    direction : array of shape (3, 3)
        Unit vectors of the voxel axes, as columns.
    spacing : array of shape (3,)
        Voxel size in mm.
    origin : array of shape (3,)
        Place of the first voxel in mm.
    """

    direction: FloatArray
    spacing: FloatArray
    origin: FloatArray

    @classmethod
    def from_affine(cls, affine: Affine) -> Frame:
        """Take an affine apart as torchio does; raise ImageError where it cannot be inverted."""
        axes = np.asarray(affine, np.float64)[:3, :3]
        if not np.isfinite(affine).all() or np.linalg.det(axes) == 0:
            raise ImageError(
                "The image's affine cannot be inverted, so its voxels have no place in space; "
                "correct the file's header."
            )
        spacing = np.sqrt(np.sum(axes * axes, axis=0))
        return cls(_TO_LPS[:, None] * (axes / spacing), spacing, _TO_LPS * affine[:3, 3])

    @property
    def affine(self) -> Affine:
        """Voxel indices to mm, as nibabel has it; (4, 4)."""
        affine = np.eye(4)
        affine[:3, :3] = (_TO_LPS[:, None] * self.direction) * self.spacing
        affine[:3, 3] = _TO_LPS * self.origin
        return affine

    def place(self, i: AnyArray | int, j: AnyArray | int, k: AnyArray | int) -> list[AnyArray]:
        """Return where voxels are: three coordinates in mm, of the indices' common shape."""
        axes = self.direction * self.spacing
        return [
            ((start + row[0] * i) + row[1] * j) + row[2] * k
            for start, row in zip(self.origin, axes, strict=True)
        ]

    def index(self, place: list[AnyArray]) -> list[AnyArray]:
        """Return the continuous voxel indices of places."""
        x, y, z = (p - start for p, start in zip(place, self.origin, strict=True))
        inverse = invert(self.direction * self.spacing)
        return [(row[0] * x + row[1] * y) + row[2] * z for row in inverse]


def pull(
    array: AnyArray,
    source: Frame,
    target: Frame,
    shape: Shape,
    *,
    linear: bool,
    slab_voxels: int = SLAB_VOXELS,
) -> AnyArray:
    """Sample an image on another grid; what lies outside the image is 0.

    Parameters
    ----------
    array : array of shape (X, Y, Z)
        The image.
    source, target : Frame
        Its grid, and the new one.
    shape : tuple of 3 ints
        Of the new grid, X', Y', Z'.
    linear : bool
        Interpolate between the eight neighbours; else take the nearest voxel.
    slab_voxels : int
        Voxels of the new grid that are sampled at a time.

    Returns
    -------
    sampled : array of shape (X', Y', Z')
        The image's type. Interpolated values are cast to it: integers lose their fraction.

    Notes
    -----
    Source: ITK 5.4 (SimpleITK 2.5.7), ``ResampleImageFilter`` with an identity transform: places
    are computed at both ends of a row of voxels, and those between them by their distance. Checked
    by ``tests/parity/test_spine_grids.py``.
    """
    array = np.ascontiguousarray(array)
    x, y, z = shape
    _, j, k = np.ogrid[:1, :y, :z]
    first, behind = (source.index(target.place(i, j, k)) for i in (0, x))
    sampled = np.empty(shape, array.dtype)
    read = _linear if linear else _nearest
    thickness = max(1, slab_voxels // max(1, y * z))
    for start in range(0, x, thickness):
        rows = slice(start, start + thickness)
        part = (np.arange(x)[rows] / x)[:, None, None]
        places = [a + part * (b - a) for a, b in zip(first, behind, strict=True)]
        inside = np.ones(sampled[rows].shape, bool)
        for place, size in zip(places, array.shape, strict=True):
            inside &= (place >= -0.5) & (place < size - 0.5)
            np.clip(place, -0.5, size - 0.5, out=place)
        values = read(array, places)
        sampled[rows] = np.where(inside, values, 0).astype(array.dtype)
    return sampled


def _nearest(array: AnyArray, places: list[FloatArray]) -> AnyArray:
    """Return the voxels nearest to places; half-way the one of the higher index."""
    indices = tuple(
        np.minimum(np.floor(place + 0.5).astype(np.intp), size - 1)
        for place, size in zip(places, array.shape, strict=True)
    )
    nearest: AnyArray = array[indices]
    return nearest


def _linear(array: AnyArray, places: list[FloatArray]) -> FloatArray:
    """Interpolate in double precision along the first axis, then the second, then the third."""
    flat = array.reshape(-1)
    strides = (array.shape[1] * array.shape[2], array.shape[2], 1)
    corner = np.zeros(places[0].shape, np.intp)
    steps, weights = [], []
    for place, size, stride in zip(places, array.shape, strides, strict=True):
        low = np.clip(np.floor(place).astype(np.intp), 0, size - 1)
        weights.append(np.maximum(place - low, 0.0))
        steps.append(np.where(low < size - 1, stride, 0))
        corner += low * stride
    return _between(flat, corner, steps, weights)


def _between(
    flat: AnyArray, corner: AnyArray, steps: list[AnyArray], weights: list[FloatArray]
) -> FloatArray:
    """Interpolate from a corner on along the axes that have a step and a weight."""
    if not steps:
        return flat[corner].astype(np.float64)
    low = _between(flat, corner, steps[:-1], weights[:-1])
    high = _between(flat, corner + steps[-1], steps[:-1], weights[:-1])
    high -= low
    high *= weights[-1]
    high += low
    return high
