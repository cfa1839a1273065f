"""Discs and vertebrae as connected components in their order along the spine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy

Ids = npt.NDArray[np.int32]
LabelMap = npt.NDArray[np.uint8]

_CROSS = scipy.ndimage.generate_binary_structure(3, 1)
_CUBE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class Parts:
    """Components of an image, from the top of the spine to its bottom.

    Attributes
    ----------
    ids : array of shape (X, Y, Z)
        Number of the component of each voxel, int32; 0 for none.
    order : tuple of ints
        Numbers of the components, the topmost first.
    heights : tuple of ints
        Place of each along the canal: z in voxels, in the same order.
    """

    ids: Ids
    order: tuple[int, ...]
    heights: tuple[int, ...]


def find_parts(
    labels: LabelMap, groups: Iterable[Sequence[int]], minimum_voxels: int, line: Centerline
) -> Parts:
    """Find the components of some classes.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Classes, RAS+.
    groups : sequence of sequences of ints
        Classes; those of one group may be together in one component.
    minimum_voxels : int
        Smaller components are left out.
    line : Centerline
        Line along which the components are ordered.

    Returns
    -------
    parts : Parts
        Components with a gap of two voxels or less between them are one.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    ids: Ids = np.zeros(labels.shape, np.int32)
    count = 0
    for classes in groups:
        mask = np.isin(labels, classes)
        for box in map(_widen, scipy.ndimage.find_objects(mask.view(np.uint8))):  # one, or none
            found = _components(mask[box], minimum_voxels)
            np.add(found, count, out=ids[box], where=found > 0)
            count += int(found.max())
    return in_order(ids, line)


def _components(mask: Mask, minimum_voxels: int) -> Ids:
    """Return numbers from 1, in array order, of components that a gap of 2 voxels may part."""
    ids: Ids
    ids, count = scipy.ndimage.label(
        scipy.ndimage.binary_dilation(mask, _CROSS), _CUBE, output=np.int32
    )
    sizes = np.bincount(ids[mask], minlength=count + 1)
    kept = sizes >= minimum_voxels
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    numbered: Ids = np.where(mask, numbers[ids], np.int32(0))
    return numbered


def in_order(ids: Ids, line: Centerline) -> Parts:
    """Order components by the height of the point of the canal nearest to their centre.

    The lower number goes below where heights are equal.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``. Of component 1, and of no other, what lies behind the
    middle of the canal does not count; where that leaves nothing of it, and leaves something of
    another, it goes to the first point of the line.
    """
    voxels = np.argwhere(ids)
    owner = ids[tuple(voxels.T)]
    front = ~line.is_behind(voxels)
    heights = {}
    for number in np.flatnonzero(np.bincount(owner)):
        own = owner == number
        if number == 1 and front.any():
            own &= front
        heights[int(number)] = line.height_of(voxels[own])
    order = sorted(heights, key=lambda number: (heights[number], number), reverse=True)
    return Parts(ids, tuple(order), tuple(heights[number] for number in order))


def merge_alike(parts: Parts, labels: LabelMap, line: Centerline) -> Parts:
    """Join each component with the one above it if both began as the same class.

    A component's class is that of its first voxel in array order.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    voxels = np.flatnonzero(parts.ids)
    numbers, first = np.unique(parts.ids.ravel()[voxels], return_index=True)
    classes = dict(zip(numbers.tolist(), labels.ravel()[voxels[first]].tolist(), strict=True))
    joined = np.arange(numbers[-1] + 1, dtype=np.int32)
    for above, below in pairwise(parts.order):
        if classes[above] == classes[below]:
            joined[below] = joined[above]
    return in_order(joined[parts.ids], line)


def add_unsure(parts: Parts, unsure: Mask, line: Centerline) -> Parts:
    """Give unsure voxels to the component that they are between two voxels of, or next to that.

    Parameters
    ----------
    parts : Parts
        Components.
    unsure : array of shape (X, Y, Z)
        Voxels to give away. Where several components could have one, the topmost gets it; where
        none could, it stays without.
    line : Centerline
        Line along which the components are ordered.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    ids = parts.ids.copy()
    boxes = scipy.ndimage.find_objects(parts.ids)
    for number in reversed(parts.order):
        box = _widen(boxes[number - 1])
        reached = scipy.ndimage.binary_dilation(_between(parts.ids[box] == number), _CROSS)
        ids[box][reached & unsure[box]] = number
    return in_order(ids, line)


def _widen(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return a box with one voxel more on each side, as far as there are any."""
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)


def _between(mask: Mask) -> Mask:
    """Return the voxels that lie between two of the mask, or in it, along any one axis."""
    filled = np.zeros_like(mask)
    for axis in range(mask.ndim):
        before = np.logical_or.accumulate(mask, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
        filled |= before & after
    return filled


Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Centerline:
    """Middle of the spinal canal in each slice that shows it.

    Attributes
    ----------
    points : array of shape (N, 3)
        Voxels of the line, in array order (x first, then y, then z). A slice whose middle lies
        outside the canal has none.
    middle_y : array of shape (Z,)
        Middle of the canal along y, in voxels; -1 where a slice shows no canal.
    """

    points: Indices
    middle_y: Indices

    def height_of(self, voxels: Indices) -> int:
        """Return z of the point nearest to the centre of voxels, (M, 3); of the first for none."""
        if not len(voxels):
            return int(self.points[0, 2])
        apart = np.linalg.norm(self.points - voxels.mean(axis=0), axis=1)
        return int(self.points[apart.argmin(), 2])

    def is_behind(self, voxels: Indices) -> Mask:
        """Tell which voxels, of shape (M, 3), are no further front than the canal's middle."""
        behind: Mask = voxels[:, 1] <= self.middle_y[voxels[:, 2]]
        return behind


def find_centerline(canal: Mask) -> Centerline:
    """Return the middle of the canal's extents along x and y, slice by slice.

    Parameters
    ----------
    canal : array of shape (X, Y, Z)
        Canal and cord, RAS+.

    Returns
    -------
    centerline : Centerline
        Its ``points`` may be empty.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    middle_x, middle_y = (_middle(np.any(canal, axis=across)) for across in (1, 0))
    z = np.flatnonzero(middle_y >= 0)
    points = np.stack([middle_x[z], middle_y[z], z], axis=1)
    points = points[canal[tuple(points.T)]]
    return Centerline(points[np.lexsort(points.T[::-1])], middle_y)


def _middle(shadow: Mask) -> Indices:
    """Return the middle between the first and the last voxel of each column, -1 for none."""
    first = shadow.argmax(axis=0)
    last = len(shadow) - 1 - shadow[::-1].argmax(axis=0)
    middle: Indices = np.where(shadow.any(axis=0), (first + last) // 2, -1)
    return middle
