"""Regions of a spine's label map: its main part, the canal, a box, every second disc.

Every function works on a box around the labels it reads, so a map of the whole spine takes seconds
and a few bytes per voxel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from deepseg_lite.volume import AnyArray, FloatArray, LabelArray, Slices

BoolArray = npt.NDArray[np.bool_]

CORD, CANAL = 1, 2  # values in labelled maps
DISCS = range(63, 101)  # values of discs, with gaps
GAP_VOXELS = 5  # parts of the spine may be twice as far from each other and still belong together

_CROSS = scipy.ndimage.generate_binary_structure(3, 1)
_CUBE = scipy.ndimage.generate_binary_structure(3, 3)


def largest_part(labels: LabelArray) -> LabelArray:
    """Keep the largest part of the spine, where small gaps do not separate; labels stay.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Any non-zero value is foreground; labels are not treated apart.

    Returns
    -------
    kept : array of shape (X, Y, Z)
        The part with most voxels. Voxels belong together when their neighbourhoods (five steps
        through faces) touch by a face, an edge or a corner. Ties go to the part that comes first
        in array order; a map without foreground stays empty.

    Notes
    -----
    Source: totalspineseg 20260807, ``largest_component`` with ``binarize`` and ``dilate=5``;
    checked by tests/parity/test_spine_regions.py.
    """
    kept = np.zeros_like(labels)
    box = bounding_box(labels, GAP_VOXELS)
    inside = labels[box]
    near = scipy.ndimage.binary_dilation(inside, _CROSS, iterations=GAP_VOXELS)
    parts, count = scipy.ndimage.label(near, _CUBE)
    if count:
        kept[box] = np.where(parts == _largest(parts, inside != 0), inside, 0)
    return kept


def fill_canal(labels: LabelArray) -> LabelArray:
    """Keep one cord in one canal, and fill the canal around it.

    Cord that is not in the largest piece of cord becomes canal; what is not in the largest piece of
    canal and cord together becomes background. Then every voxel between the first and the last of
    both along x, and between the first and the last along y, becomes canal unless it is cord,
    whatever it was before. Cord in one piece without any canal stays as it is.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        1 cord, 2 canal; other values are overwritten where the canal is filled.

    Returns
    -------
    filled : array of shape (X, Y, Z)
        Ties between pieces go to the one that comes first in array order.

    Notes
    -----
    Source: totalspineseg 20260807, ``fill_canal`` with ``largest_canal`` and ``largest_cord``;
    checked by tests/parity/test_spine_regions.py.
    """
    filled = labels.copy()
    box = bounding_box((labels == CORD) | (labels == CANAL), 0)
    inside = filled[box]
    inside[_outside_largest(inside == CORD)] = CANAL
    if not (inside == CANAL).any():
        return filled
    inside[_outside_largest((inside == CORD) | (inside == CANAL))] = 0
    both = (inside == CORD) | (inside == CANAL)
    inside[_between(both, 0) & _between(both, 1) & (inside != CORD)] = CANAL
    return filled


def bounding_box(labels: AnyArray, margin_voxels: int) -> Slices:
    """Return the box of everything non-zero, with a margin on all sides.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Any non-zero value counts.
    margin_voxels : int
        Voxels to add on each side; the box ends at the volume's border.

    Returns
    -------
    box : tuple of 3 slices
        The whole volume where there is nothing.

    Notes
    -----
    Source: totalspineseg 20260807, ``crop_image2seg``; checked by
    tests/parity/test_spine_regions.py.
    """
    present = labels != 0
    box = []
    for axis, length in enumerate(labels.shape):
        others = tuple(other for other in range(3) if other != axis)
        indices = np.flatnonzero(present.any(axis=others))
        if not len(indices):
            return slice(0, labels.shape[0]), slice(0, labels.shape[1]), slice(0, labels.shape[2])
        start, stop = int(indices[0]) - margin_voxels, int(indices[-1]) + 1 + margin_voxels
        box.append(slice(max(start, 0), min(stop, length)))
    return box[0], box[1], box[2]


def alternate_discs(labels: LabelArray) -> LabelArray:
    """Mark every second disc that is there, starting with the uppermost.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Discs are the values 63 to 100, from the top of the spine down.

    Returns
    -------
    mask : array of shape (X, Y, Z)
        0 and 1, uint8.

    Notes
    -----
    Source: totalspineseg 20260807, ``extract_alternate``; checked by
    tests/parity/test_spine_regions.py.
    """
    boxes = dict(enumerate(scipy.ndimage.find_objects(labels, DISCS.stop - 1), 1))
    mask = np.zeros(labels.shape, np.uint8)
    for value in [value for value in DISCS if boxes[value]][::2]:
        mask[boxes[value]] |= labels[boxes[value]] == value
    return mask


def soft_map(probabilities: FloatArray, labels: LabelArray, values: tuple[int, ...]) -> FloatArray:
    """Keep a network's probabilities in and directly around a structure.

    Parameters
    ----------
    probabilities : float array of shape (X, Y, Z)
        The network's score for the structure, 0 to 1.
    labels : array of shape (X, Y, Z)
        Label map of the same grid.
    values : tuple of int
        Labels of the structure.

    Returns
    -------
    kept : array of shape (X, Y, Z)
        float32; 0 where neither the voxel nor one that shares a face with it has such a label.

    Notes
    -----
    Source: totalspineseg 20260807, ``extract_soft`` with ``dilate=1``; checked by
    tests/parity/test_spine_regions.py.
    """
    structure = np.isin(labels, values)
    box = bounding_box(structure, 1)
    near = scipy.ndimage.binary_dilation(structure[box], _CROSS)
    kept = np.zeros(labels.shape, np.float32)
    kept[box] = np.where(near, probabilities[box], 0)
    return kept


def _largest(parts: npt.NDArray[np.int32], mask: BoolArray) -> int:
    """Return the number of the part with most voxels in the mask, the first on ties."""
    return int(np.bincount(parts[mask]).argmax())


def _outside_largest(mask: BoolArray) -> BoolArray:
    """Return the part of a mask that its largest piece leaves over."""
    pieces, count = scipy.ndimage.label(mask, _CUBE)
    return mask & (pieces != _largest(pieces, mask)) if count > 1 else np.zeros_like(mask)


def _between(mask: BoolArray, axis: int) -> BoolArray:
    """Return what lies between the first and the last voxel of every line along an axis."""
    forwards = np.maximum.accumulate(mask, axis=axis)
    backwards = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis=axis), axis)
    return forwards & backwards
