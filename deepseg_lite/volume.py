"""Volume: voxels and their place in space; and names for kinds of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes

from deepseg_lite.errors import ImageError

FloatArray = npt.NDArray[np.floating]
LabelArray = npt.NDArray[np.unsignedinteger]
Array = FloatArray | LabelArray
AnyArray = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]
Slices = tuple[slice, ...]
"""Cuts a box out of an array, one slice an axis."""


def voxel_volume(affine: Affine, spacing: Sequence[float]) -> float:
    """Return the volume of a voxel in mm3: where axes are sheared, less than its sides' product."""
    box = float(np.prod(voxel_sizes(affine)))
    share = abs(float(np.linalg.det(affine[:3, :3]))) / box
    return float(np.prod(spacing)) * (share if share < 1 - 1e-6 else 1.0)


MAX_VOXELS = 2**31
"""Voxels of the largest grid that an image is brought to."""


def check_grid(shape: Sequence[int], spacing: Sequence[float | None]) -> None:
    """Raise `ImageError` if a grid is larger than any that is needed: the voxel size is wrong."""
    if math.prod(shape) > MAX_VOXELS:
        size = " x ".join("-" if side is None else f"{side:.3g}" for side in spacing)
        raise ImageError(
            f"the image would have {' x '.join(map(str, shape))} voxels of {size} mm, more than "
            f"{MAX_VOXELS:.0e}; check the voxel size in its header, or crop it."
        )


@dataclass(frozen=True, eq=False)
class Volume:
    """Images of one case on one grid.

    Attributes
    ----------
    data : array of shape (C, X, Y, Z)
        Intensities, float32, any unit.
    affine : array of shape (4, 4)
        Voxel indices to mm, for the axis order of ``data``.
    spacing : tuple of 3 floats
        Voxel size in mm, in the axis order of ``data``.
    """

    data: FloatArray
    affine: Affine
    spacing: Spacing

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape (X, Y, Z)."""
        x, y, z = self.data.shape[1:]
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return voxel_volume(self.affine, self.spacing)

    @property
    def orientation(self) -> str:
        """Axis codes in nibabel's convention: the direction each axis points to."""
        return "".join(aff2axcodes(self.affine))

    @classmethod
    def from_array(cls, data: npt.ArrayLike, affine: npt.ArrayLike) -> Volume:
        """Make a volume of an array of shape (X, Y, Z) or (C, X, Y, Z) and an affine in mm."""
        array = np.asarray(data, dtype=np.float32)
        if array.ndim == 3:
            array = array[None]
        matrix = np.asarray(affine, dtype=np.float64)
        x, y, z = (float(size) for size in voxel_sizes(matrix))
        return cls(array, matrix, (x, y, z))
