"""Boxes of voxels: padded in mm, changed face by face, cut out, and checked for what they cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine, voxel_sizes

from deepseg_lite.errors import OptionError
from deepseg_lite.geometry import Cropped
from deepseg_lite.volume import AnyArray, Spacing, Volume

FACES = ("xmin", "xmax", "ymin", "ymax", "zmin", "zmax")
"""Names of faces: axes of the volume as stored, lowest and highest voxel inside."""

_SIDES = {"R": "right", "L": "left", "P": "posterior", "A": "anterior", "I": "inferior"}
_SIDES |= {"S": "superior"}
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


@dataclass(frozen=True)
class Box:
    """Voxels from ``start`` up to, not including, ``stop``, in the axis order of a volume."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @classmethod
    def whole(cls, shape: tuple[int, int, int]) -> Box:
        """Return the box of all voxels of a volume."""
        return cls((0, 0, 0), shape)

    @property
    def is_empty(self) -> bool:
        """Whether it has no voxel."""
        return any(low >= high for low, high in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What cuts it out of an array (X, Y, Z)."""
        x, y, z = (slice(*ends) for ends in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def faces(self) -> dict[str, int]:
        """Lowest and highest voxel of each axis, both inside, by the names of `FACES`."""
        ends = zip(self.start, self.stop, strict=True)
        return dict(zip(FACES, (f for low, high in ends for f in (low, high - 1)), strict=True))


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
    return _box([max(0, low) for low in start], list(map(min, stop, volume.shape)))


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
    return _box([found[name] for name in FACES[::2]], [found[name] + 1 for name in FACES[1::2]])


def crop_to_box(volume: Volume, box: Box) -> tuple[Volume, Cropped]:
    """Cut a box out of a volume; ``record.undo`` puts arrays back into zeros of its shape."""
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, box.start)
    data = volume.data[(slice(None), *box.slices)]
    return Volume(data, affine, volume.spacing), Cropped(box.start, volume.shape)


def box_mask(box: Box, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return a mask (X, Y, Z) that is 1 inside the box."""
    mask = np.zeros(shape, np.uint8)
    mask[box.slices] = 1
    return mask


def truncated_faces(labels: AnyArray, box: Box) -> list[str]:
    """Return the faces of the box, not at the rim of the volume, where something was found.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Result on the grid of the whole volume.
    box : Box
        What was segmented of it.

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


def _box(start: list[int], stop: list[int]) -> Box:
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
