"""Measures of a structure, slice by slice and piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from deepseg_lite.qc.cutout import Cutout
from deepseg_lite.volume import AnyArray, Spacing


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of one structure.

    Attributes
    ----------
    area_mm2 : array of shape (S,)
        Of every slice of the view, across the axis from head to foot; 0 where there is nothing.
    centres_mm : array of shape (S, 2)
        To posterior and to the right; NaN where there is nothing.
    faces : str
        The sides of the image that it touches, of A, P, L and R.
    part : Cutout
        The structure.
    spacing : tuple of 3 floats
        Voxel size in mm; the first is from slice to slice.
    voxel_mm3 : float
        Volume of a voxel.
    """

    area_mm2: AnyArray
    centres_mm: AnyArray
    faces: str
    part: Cutout
    spacing: Spacing
    voxel_mm3: float

    @property
    def slices(self) -> AnyArray:
        """Return which slices have it."""
        return np.flatnonzero(self.area_mm2)

    @property
    def mm3(self) -> float:
        """Return its volume."""
        return float(np.count_nonzero(self.part.mask) * self.voxel_mm3)

    @property
    def mean_area_mm2(self) -> float:
        """Return its mean area across it: volume for each mm of the line through its middle.

        Slices without it count nothing, so it does not depend on how much of it an image shows.
        """
        there = self.slices
        steps = np.diff(self.centres_mm[there], axis=0)[np.diff(there) == 1]
        lengths = np.hypot(self.spacing[0], np.hypot(*steps.T))
        stretch = lengths.mean() / self.spacing[0] if len(steps) else 1.0
        return float(self.area_mm2[there].mean() / stretch)

    def holes_mm2(self) -> AnyArray:
        """Return what it encloses in every slice (S,) without having it."""
        holes = np.zeros(len(self.area_mm2))
        in_plane = np.zeros((3, 3, 3), bool)
        in_plane[1] = scipy.ndimage.generate_binary_structure(2, 1)
        around = np.pad(self.part.mask, ((0, 0), (1, 1), (1, 1)))
        enclosed = scipy.ndimage.binary_fill_holes(around, in_plane) & ~around
        holes[self.part.box[0]] = enclosed.sum(axis=(1, 2)) * self.spacing[1] * self.spacing[2]
        return holes

    def pieces_mm3(self) -> AnyArray:
        """Return the volume of each piece, the largest first; faces, edges, corners connect."""
        pieces, _ = scipy.ndimage.label(self.part.mask, np.ones((3, 3, 3)))
        sizes: AnyArray = np.sort(np.bincount(pieces.ravel())[1:])[::-1] * self.voxel_mm3
        return sizes


def measure(part: Cutout, spacing: Spacing, voxel_mm3: float) -> Measures:
    """Measure a structure.

    Parameters
    ----------
    part : Cutout
        On the axes of a view.
    spacing : tuple of 3 floats
        Voxel size in mm.
    voxel_mm3 : float
        Volume of a voxel.
    """
    (count, depth, width), inner, places = part.shape, part.mask, part.box
    first, front, left = part.corner
    area, centres = np.zeros(count), np.full((count, 2), np.nan)
    voxels = inner.sum(axis=(1, 2))
    there = np.flatnonzero(voxels)
    area[places[0]] = voxels * spacing[1] * spacing[2]
    rows = inner.sum(axis=2)[there] @ (np.arange(inner.shape[1]) + front)
    columns = inner.sum(axis=1)[there] @ (np.arange(inner.shape[2]) + left)
    centres[there + first, 0] = rows / voxels[there] * spacing[1]
    centres[there + first, 1] = columns / voxels[there] * spacing[2]
    ends = ((front, 0), (places[1].stop, depth), (left, 0), (places[2].stop, width))
    touched = zip("APLR", ends, strict=True)
    faces = "".join(face for face, (at, end) in touched if inner.size and at == end)
    return Measures(area, centres, faces, part, spacing, voxel_mm3)
