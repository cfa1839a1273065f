"""Faces of a box of voxels: padded in mm, moved by the user, and checked for what they cut."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
from nibabel.affines import voxel_sizes

from deepseg_lite.errors import OptionError
from deepseg_lite.steps.box import Box, box_of
from deepseg_lite.steps.faces import FACES
from deepseg_lite.volume import AnyArray, Spacing, Volume

_SIDES = {"R": "right", "L": "left", "P": "posterior", "A": "anterior", "I": "inferior"}
_SIDES |= {"S": "superior"}
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


def header_spacing(volume: Volume) -> Spacing:
    """Return the voxel sizes that a NIfTI header would hold once the image is stored as LAS.

    They are rounded to float32, which decides how many voxels a padding in mm takes.
    """
    own = volume.orientation == "LAS"  # such an image keeps its header
    x, y, z = volume.spacing if own else voxel_sizes(volume.affine)
    return float(np.float32(x)), float(np.float32(y)), float(np.float32(z))


def pad_box(box: Box, padding_mm: Mapping[str, float], volume: Volume) -> Box:
    """Grow a box on each side, up to the rim of its volume.

    Parameters
    ----------
    box : Box
        In the axis order of ``volume``.
    padding_mm : mapping
        mm for ``superior``, ``inferior``, ``left``, ``right``, ``anterior`` and ``posterior``;
        rounded up to voxels.
    volume : Volume
        Says where the axes point and how large voxels are.

    Notes
    -----
    Source: sc-crop 0.12.1, ``detect``; checked by ``tests/parity/test_cord_crop.py``.
    """
    start, stop = list(box.start), list(box.stop)
    for axis, (code, size) in enumerate(
        zip(volume.orientation, header_spacing(volume), strict=True)
    ):
        start[axis] -= ceil(padding_mm[_SIDES[_OPPOSITE[code]]] / size)
        stop[axis] += ceil(padding_mm[_SIDES[code]] / size)
    return box_of([max(0, low) for low in start], list(map(min, stop, volume.shape)))


def override_faces(box: Box, faces: Mapping[str, int], shape: tuple[int, int, int]) -> Box:
    """Return a box with some faces put where the user wants them.

    Parameters
    ----------
    box : Box
        Any box of the volume.
    faces : mapping
        Voxel indices, inside the box, by the names of `FACES`.
    shape : tuple of 3 ints
        Of the volume.

    Raises
    ------
    OptionError
        If a face lies outside the volume, or nothing is left between two of them.
    """
    found = {**box.faces, **faces}
    for axis, (low, high) in enumerate(zip(FACES[::2], FACES[1::2], strict=True)):
        for name in (low, high):
            if name in faces and not 0 <= faces[name] < shape[axis]:
                raise OptionError(
                    f"{name} of the box is {faces[name]}; this axis of the image has the voxels "
                    f"0 to {shape[axis] - 1}."
                )
        if found[low] > found[high]:
            raise OptionError(
                f"the box has {low} {found[low]} above {high} {found[high]}; give both faces, in "
                "the image's own voxel indices."
            )
    return box_of([found[name] for name in FACES[::2]], [found[name] + 1 for name in FACES[1::2]])


def truncated_faces(labels: AnyArray, box: Box) -> list[str]:
    """Return the faces of the box, not at the rim of the volume, where something was found.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Result on the grid of the whole volume.
    box : Box
        Segmentation of it.

    Notes
    -----
    Source: sc-crop 0.12.1, ``check_seg_truncation``; checked by
    ``tests/parity/test_cord_crop.py``.
    """
    found = []
    for axis, (low, high) in enumerate(zip(FACES[::2], FACES[1::2], strict=True)):
        first, last = box.start[axis], box.stop[axis] - 1
        if last < labels.shape[axis] - 1 and np.take(labels, last, axis).any():
            found.append(high)
        if first > 0 and np.take(labels, first, axis).any():
            found.append(low)
    return found
