"""The frame of a network: orientation and axis order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from deepseg_lite.volume import AnyArray, Volume


@dataclass(frozen=True)
class Framed:
    """Record of `to_frame`: new axis i is old axis ``source[i]``, reversed if ``flipped[i]``."""

    source: tuple[int, ...]
    flipped: tuple[bool, ...]

    def undo(self, array: AnyArray) -> AnyArray:
        """Return an array of shape (..., X', Y', Z') in the old axis order, (..., X, Y, Z)."""
        leading = array.ndim - 3
        reversing: tuple[Any, ...] = (..., *_reversing(self.flipped))
        array = array[reversing]
        back = [leading + self.source.index(axis) for axis in range(3)]
        return np.ascontiguousarray(array.transpose(*range(leading), *back))


def to_frame(volume: Volume, orientation: str | None, axes: str) -> tuple[Volume, Framed]:
    """Reorient a volume and put its axes in the order the network sees, without interpolation.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    orientation : str or None
        Axis codes to bring the image to, nibabel's convention; None keeps the image's own.
    axes : str
        Order of the oriented axes, e.g. ``"zyx"``.

    Returns
    -------
    framed : Volume
        A view; nothing is copied.
    record : Framed
        ``record.undo`` maps (..., X', Y', Z') back.
    """
    current = io_orientation(volume.affine)
    target = current if orientation is None else axcodes2ornt(orientation)
    transform = ornt_transform(current, target)  # per old axis: new axis, direction
    order = ["xyz".index(letter) for letter in axes]
    oriented_source = [int(np.flatnonzero(transform[:, 0] == axis)[0]) for axis in range(3)]
    source = tuple(oriented_source[axis] for axis in order)
    flipped = tuple(bool(transform[axis, 1] < 0) for axis in source)

    data = volume.data.transpose(0, *(axis + 1 for axis in source))
    data = data[(slice(None), *_reversing(flipped))]
    x, y, z = (volume.spacing[axis] for axis in source)
    signed = np.zeros((4, 4))  # new voxel indices -> old ones
    signed[3, 3] = 1
    for new, old in enumerate(source):
        signed[old, new] = -1 if flipped[new] else 1
        signed[old, 3] = data.shape[new + 1] - 1 if flipped[new] else 0
    return Volume(data, volume.affine @ signed, (x, y, z)), Framed(source, flipped)


def _reversing(flipped: tuple[bool, ...]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if flip else 1) for flip in flipped)


def reoriented_spacing(volume: Volume, orientation: str) -> Volume:
    """Return a volume with the voxel sizes that its header would have after reorienting the file.

    nibabel computes them anew from the affine, unless the file has that orientation already. They
    differ from the header's in the last digit, which can decide how a shape is rounded.

    Parameters
    ----------
    volume : Volume
        As it was read, before `deepseg_lite.steps.frame.to_frame`.
    orientation : str
        Axis codes that the image will be brought to.

    Notes
    -----
    Source: nibabel ``as_closest_canonical``, which ivadomed 2.9.10 loads images with; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    if volume.orientation == orientation:
        return volume
    x, y, z = (float(np.float32(size)) for size in voxel_sizes(volume.affine))
    return Volume(volume.data, volume.affine, (x, y, z))
