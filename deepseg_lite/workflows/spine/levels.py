"""Levels of the spine: one voxel per disc on the centreline of the canal, numbered from C1 down.

Number 1 is the top of C1, 2 is between C1 and C2, 3 is C2-C3 and so on to 25, L5-S.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy
from scipy.interpolate import splev, splrep

from deepseg_lite.errors import ImageError
from deepseg_lite.volume import LabelArray, Slices

Points = npt.NDArray[np.float64]
Voxels = npt.NDArray[np.intp]

CORD, CANAL, C1, VERTEBRAE = 1, 2, 11, 50
DISCS = (*range(63, 68), *range(71, 83), *range(91, 96), 100)  # L5-L6, value 96, is not counted
TOP_OF_C1, C1_C2, C2_C3 = 1, 2, 3  # numbers of levels
C1_VOXELS = 500  # a C1 must have more to be trusted
SMOOTHING = 8000.0
DISTANCES_AT_ONCE = 1_000_000


def extract_levels(labels: LabelArray) -> LabelArray:
    """Mark each disc by the voxel of it that is closest to the centreline of the canal.

    Discs are counted: the first gets its own number and each further one the next, so that a
    missing disc moves all numbers below it. Above C2-C3 the top of C1 and C1-C2 are added where
    C1 is in view.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Labelled map of the first network, RAS+ at 1 mm, canal filled: 1 cord, 2 canal, 11 C1,
        50 other vertebrae, 63 to 100 discs.

    Returns
    -------
    points : array of shape (X, Y, Z)
        Numbers of levels, one voxel each, uint8.

    Raises
    ------
    ImageError
        No canal, a canal in one slice only, no discs, or a level of C1 that falls outside.

    Notes
    -----
    Source: totalspineseg 20260807, ``extract_levels``; checked by
    tests/parity/test_spine_levels.py.
    """
    line = _centerline(labels)
    boxes = dict(enumerate(scipy.ndimage.find_objects(labels, DISCS[-1]), 1))
    discs = [value for value in DISCS if boxes[value]]
    if not discs:
        raise ImageError("the spine has no disc; levels need one; check the image and its contrast")
    first = C2_C3 + DISCS.index(discs[0])
    voxels = [_closest_voxel(_voxels_of(value, labels, boxes[value]), line) for value in discs]
    points = np.zeros(labels.shape, np.uint8)
    for number, voxel in enumerate(voxels, first):
        points[tuple(voxel)] = number
    c1_voxels = len(_voxels_of(C1, labels, boxes[C1])) if boxes[C1] else 0
    if first == C2_C3 and boxes[VERTEBRAE] and c1_voxels > C1_VOXELS:
        _add_first_levels(points, labels, line, voxels[0])
    return points


def _centerline(labels: LabelArray) -> Points:
    """Return the smoothed middle of the canal, one point (x, y, z) per slice."""
    x, y, z = np.nonzero((labels == CORD) | (labels == CANAL))
    if not len(z):
        raise ImageError("the spine has no canal; levels need one; check the image")
    slices, where, counts = np.unique(z, return_inverse=True, return_counts=True)
    if len(slices) < 2:
        raise ImageError("the canal is in one slice; levels need more; give a larger image")
    every = np.arange(slices[0], slices[-1] + 1)
    degree = 3 if len(slices) > 3 else 1
    # The original's voxel size is float32, and so is what it is multiplied with.
    smoothing = np.float32((len(slices) / len(every)) ** 2 * SMOOTHING) / np.float32(3)
    smooth = []
    for values in (x, y):
        middle = np.bincount(where, values) / counts
        curve = splrep(slices.astype(float), middle, s=smoothing, k=degree, quiet=1)
        smooth.append(splev(every, curve))
    return np.stack([*smooth, every], axis=1)


def _voxels_of(value: int, labels: LabelArray, box: Slices) -> Voxels:
    """Return the voxels (N, 3) of one label, which all are in the box."""
    voxels: Voxels = np.argwhere(labels[box] == value) + [side.start for side in box]
    return voxels


def _distances(voxels: Voxels, line: Points | Voxels) -> Points:
    """Return distances (N, P) of N voxels to the P points of a line, added up in axis order."""
    steps = [voxels[:, None, axis] - line[None, :, axis] for axis in range(3)]
    distances: Points = np.sqrt(steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2)
    return distances


def _closest_voxel(voxels: Voxels, line: Points) -> Voxels:
    """Return the voxel nearest to any point of the line, the first on ties."""
    count = max(1, DISTANCES_AT_ONCE // len(line))
    parts = [voxels[start : start + count] for start in range(0, len(voxels), count)]
    nearest = np.concatenate([_distances(part, line).min(axis=1) for part in parts])
    closest: Voxels = voxels[nearest.argmin()]
    return closest


def _add_first_levels(points: LabelArray, labels: LabelArray, line: Points, c2_c3: Voxels) -> None:
    """Add the top of C1 and C1-C2 to the points, in front of the canal at C2-C3's distance."""
    top = int(np.flatnonzero((labels == C1).any(axis=(0, 1)))[-1])
    y, z = np.nonzero(labels[c2_c3[0], :, :top] == VERTEBRAE)
    if not len(z):
        return
    highest = np.array([c2_c3[0], y[z.argmax()], z.max()])
    nearest = line[_distances(c2_c3[None], line)[0].argmin()]
    shifted = line.copy()
    shifted[:, :2] += c2_c3[:2] - nearest[:2]
    anterior = np.round(shifted).astype(int)
    for number, target in ((TOP_OF_C1, highest), (C1_C2, (highest + c2_c3) // 2)):
        point = anterior[_distances(target[None], anterior)[0].argmin()]
        # A negative index counts from the far side, as in the original.
        if (point >= labels.shape).any() or (point < np.negative(labels.shape)).any():
            raise ImageError(f"level {number} would be outside the image; give a wider image")
        points[tuple(point)] = number
