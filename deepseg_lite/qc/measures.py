"""Measures of a structure, slice by slice and piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

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
    holes_mm2 : array of shape (S,)
        What the structure encloses in a slice without having it.
    pieces_mm3 : array
        Volume of each piece, the largest first; faces, edges and corners connect.
    faces : str
        The sides of the image that it touches, of A, P, L and R.
    spacing_mm : float
        From slice to slice.
    """

    area_mm2: AnyArray
    centres_mm: AnyArray
    holes_mm2: AnyArray
    pieces_mm3: AnyArray
    faces: str
    spacing_mm: float

    @property
    def slices(self) -> AnyArray:
        """Return which slices have it."""
        return np.flatnonzero(self.area_mm2)


def measure(mask: AnyArray, spacing: Spacing, voxel_mm3: float) -> Measures:
    """Measure a structure.

    Parameters
    ----------
    mask : boolean array of shape (S, A, L)
        On the axes of a view.
    spacing : tuple of 3 floats
        Voxel size in mm.
    voxel_mm3 : float
        Volume of a voxel.
    """
    count, depth, width = mask.shape
    box = ndimage.find_objects(mask.astype(np.uint8))
    places = box[0] if box else (slice(0, 0),) * 3
    inner = mask[places]
    pixel = spacing[1] * spacing[2]
    area, holes = np.zeros(count), np.zeros(count)
    centres = np.full((count, 2), np.nan)
    voxels = inner.sum(axis=(1, 2))
    there = np.flatnonzero(voxels)
    area[places[0]] = voxels * pixel
    rows = inner.sum(axis=2)[there] @ (np.arange(inner.shape[1]) + (places[1].start or 0))
    columns = inner.sum(axis=1)[there] @ (np.arange(inner.shape[2]) + (places[2].start or 0))
    own = there + (places[0].start or 0)
    centres[own, 0] = rows / voxels[there] * spacing[1]
    centres[own, 1] = columns / voxels[there] * spacing[2]
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    solid = ndimage.binary_fill_holes(np.pad(inner, ((0, 0), (1, 1), (1, 1))), in_plane)
    holes[places[0]] = (solid.sum(axis=(1, 2)) - voxels) * pixel
    pieces, _ = ndimage.label(inner, np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1] * voxel_mm3
    ends = ((places[1].start, 0), (places[1].stop, depth), (places[2].start, 0))
    touched = [a == b for a, b in (*ends, (places[2].stop, width))] if box else [False] * 4
    faces = "".join(face for face, is_touched in zip("APLR", touched, strict=True) if is_touched)
    return Measures(area, centres, holes, sizes, faces, spacing[0])
