"""Cleaning masks, label maps and probability maps by connected components.

Source of all but `spots`: the Spinal Cord Toolbox, whose options ``-largest``, ``-fill-holes`` and
``-remove-small`` do this to one file at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from deepseg_lite.volume import AnyArray

SOFT_FLOOR = 0.001
"""Probabilities below this do not connect what they lie between."""


def keep_largest(array: AnyArray) -> AnyArray:
    """Keep the largest face-connected component of all foreground; values stay as they are.

    Parameters
    ----------
    array : array of shape (X, Y, Z)
        Any non-zero value is foreground; labels are not treated apart. Probabilities below 0.001
        become 0 first.

    Returns
    -------
    kept : array of shape (X, Y, Z)
        Ties go to the component that comes first in array order.
    """
    if array.dtype.kind == "f":
        array = np.where(array < SOFT_FLOOR, 0, array).astype(array.dtype)
    components, count = scipy.ndimage.label(array)
    if count < 2:
        return array
    largest = count_values(components)[1:].argmax() + 1
    return np.where(components == largest, array, 0).astype(array.dtype)


def fill_holes(mask: AnyArray) -> AnyArray:
    """Fill the background that a mask of 0 and 1 encloses on all sides.

    Parameters
    ----------
    mask : array of shape (X, Y, Z)
        0 and 1.

    Returns
    -------
    filled : array of shape (X, Y, Z)
        Background is a hole where no path of voxels that share a face, an edge or a corner leads
        out of it.
    """
    filled: AnyArray = scipy.ndimage.binary_fill_holes(mask, np.ones((3, 3, 3)))
    return filled.astype(mask.dtype)


def remove_small(array: AnyArray, minimum_voxels: int) -> AnyArray:
    """Set components of fewer voxels to 0; faces and edges connect, corners do not.

    Parameters
    ----------
    array : array of shape (X, Y, Z)
        Any non-zero value is foreground; labels are not treated apart.
    minimum_voxels : int
        Size of the smallest component that stays.

    Returns
    -------
    kept : array of shape (X, Y, Z)
    """
    components, _ = scipy.ndimage.label(array, scipy.ndimage.generate_binary_structure(3, 2))
    small = count_values(components) < minimum_voxels
    small[0] = False
    return np.where(small[components], 0, array).astype(array.dtype)


def spots(mask: AnyArray, share: float, connectivity: int) -> AnyArray:
    """Return the components of a mask that are smaller than a share of the largest one.

    Parameters
    ----------
    mask : array of shape (X, Y, Z)
        Anything but 0 is foreground.
    share : float
        From 0 to 1; a component of exactly this share is not small.
    connectivity : int
        1: voxels that share a face connect; 2: or an edge; 3: or a corner.

    Returns
    -------
    small : bool array of shape (X, Y, Z)
        The largest component is never part of it, nor is anything of an empty mask.
    """
    structure = scipy.ndimage.generate_binary_structure(3, connectivity)
    components, _ = scipy.ndimage.label(mask, structure)
    sizes = count_values(components)
    sizes[0] = 0
    small = sizes / max(sizes.max(), 1) < share
    small[0] = False
    found: AnyArray = small[components]
    return found


def count_values(array: AnyArray) -> npt.NDArray[np.int64]:
    """Return how many voxels of (X, Y, Z) have each value, from 0 to the largest.

    ``array`` has whole numbers from 0 on. They are counted plane by plane, as numpy counts in 64
    bits, for which all of them at once take long and much memory.
    """
    counts = np.zeros(int(array.max(initial=0)) + 1, np.int64)
    for plane in array:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return counts
