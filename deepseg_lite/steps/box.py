"""Boxes of voxels: cut out, padded beyond the edge, put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine

from deepseg_lite.steps.faces import FACES
from deepseg_lite.volume import AnyArray, Volume


@dataclass(frozen=True)
class Cropped:
    """Record of a box that was cut out, padded where it goes beyond the edge.

    Attributes
    ----------
    start : tuple of int
        Old index of its first voxel; below 0 where it was padded.
    shape : tuple of int
        Shape that it was cut from.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]

    def undo(self, array: AnyArray) -> AnyArray:
        """Put an array of shape (..., X', Y', Z') back into zeros of shape (..., X, Y, Z)."""
        full = np.zeros((*array.shape[:-3], *self.shape), array.dtype)
        source: list[Any] = [...]
        target: list[Any] = [...]
        for a, old, new in zip(self.start, self.shape, array.shape[-3:], strict=True):
            first, last = max(a, 0), max(min(a + new, old), max(a, 0))
            target.append(slice(first, last))
            source.append(slice(first - a, last - a))
        full[tuple(target)] = array[tuple(source)]
        return full


def cut(
    volume: Volume,
    start: Sequence[int],
    size: Sequence[int],
    mode: str = "constant",
    value: float = 0.0,
) -> tuple[Volume, Cropped | None]:
    """Cut a box out of a volume; it is padded where it goes beyond the edge.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    start, size : sequence of 3 ints
        First voxel, which may be below 0, and number of voxels.
    mode, value : str, float
        Padding, see `pad`. It is added after cropping, so edges are those of the box.

    Returns
    -------
    box : Volume
        Data of shape (C, *size).
    record : Cropped or None
        None where the box is the whole volume.
    """
    if tuple(size) == volume.shape and not any(start):
        return volume, None
    inside: list[slice] = [slice(None)]
    widths = [(0, 0)]
    for a, n, old in zip(start, size, volume.shape, strict=True):
        low = min(max(a, 0), old)
        high = max(min(a + n, old), low)
        before = min(max(-a, 0), n)
        inside.append(slice(low, high))
        widths.append((before, n - before - (high - low)))
    data = volume.data[tuple(inside)]
    if np.any(widths):
        data = pad(data, widths, mode, value)
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, start)
    return Volume(data, affine, volume.spacing), Cropped(tuple(start), volume.shape)


def pad(array: AnyArray, widths: Sequence[tuple[int, int]], mode: str, value: float) -> AnyArray:
    """Pad an array, ``value`` being for constant padding alone."""
    keywords = {"constant_values": value} if mode == "constant" else {}
    padded: AnyArray = np.pad(array, widths, mode=mode, **keywords)  # type: ignore[call-overload]
    return padded


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
    def size(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        x, y, z = (high - low for low, high in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut it out of an array (X, Y, Z)."""
        x, y, z = (slice(*ends) for ends in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def faces(self) -> dict[str, int]:
        """Lowest and highest voxel of each axis, both inside, by the names of `FACES`."""
        ends = zip(self.start, self.stop, strict=True)
        return dict(zip(FACES, (f for low, high in ends for f in (low, high - 1)), strict=True))


def crop_to_box(volume: Volume, box: Box) -> tuple[Volume, Cropped | None]:
    """Cut a box out of a volume; see `cut`."""
    return cut(volume, box.start, box.size)


def box_mask(box: Box, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return a mask (X, Y, Z) that is 1 inside the box."""
    mask = np.zeros(shape, np.uint8)
    mask[box.slices] = 1
    return mask


def box_of(start: list[int], stop: list[int]) -> Box:
    """Return the box of two corners."""
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
