"""What the evaluation measures in masks, and how it brings arrays to one order of axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage

Array = npt.NDArray[Any]

CANAL_MM = 5.0  # what is further from the cord is outside its canal


def read_mask(path: str | Path) -> Array:
    """Read a mask."""
    return np.asarray(nib.load(path).dataobj) > 0


def dice(first: Array, second: Array) -> float:
    """Return the Dice of two masks."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def lost_slices(found: Array, manual: Array) -> int:
    """Count the slices (last axis) where a mask is marked and nothing was found."""
    return int((manual.any(axis=(0, 1)) & ~found.any(axis=(0, 1))).sum())


def axial_first(image: nib.Nifti1Image, array: Array) -> Array:
    """Turn an array so that its axes are z, y, x."""
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("SAL"))
    return nib.apply_orientation(array.astype(np.float32), turn)


def axial_spacing(image: nib.Nifti1Image) -> Array:
    """Return the voxel size along z, y and x."""
    axes = io_orientation(image.affine)[:, 0].argsort()[::-1]
    return np.array(image.header.get_zooms())[axes]


def worst_slice(found: Array, manual: Array) -> float:
    """Return the lowest Dice of the slices (last axis) where a mask is marked."""
    marked = np.flatnonzero(manual.any(axis=(0, 1)))
    return min(dice(found[..., z], manual[..., z]) for z in marked)


def strays(found: Array, manual: Array, spacing: tuple[float, float]) -> int:
    """Count the pieces of a result that lie outside the canal, in slices where a cord is marked.

    Parameters
    ----------
    found, manual : ndarray
        Masks of the cord, slices along the last axis.
    spacing : tuple of 2 floats
        Pixel size in mm.

    Returns
    -------
    count : int
        Pieces of ``found``, joined by faces, edges or corners, no voxel of which is within 5 mm of
        the manual cord of its slice.
    """
    near = np.zeros(manual.shape, bool)
    for z in np.flatnonzero(manual.any(axis=(0, 1))):
        away = ndimage.distance_transform_edt(~manual[..., z], spacing)
        near[..., z] = away <= CANAL_MM
    pieces, count = ndimage.label(found & manual.any(axis=(0, 1)), np.ones((3, 3, 3)))
    return count - len(np.unique(pieces[near & (pieces > 0)]))


def hole_voxels(found: Array) -> int:
    """Count the voxels that a mask encloses within a slice (last axis)."""
    filled = ndimage.binary_fill_holes(found, np.ones((3, 3, 1)))
    return int((filled & ~found).sum())
