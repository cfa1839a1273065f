"""Cutting a box out of a volume that may reach beyond it: crops, paddings and both at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from deepseg_lite.errors import ImageError
from deepseg_lite.volume import AnyArray, Volume


@dataclass(frozen=True)
class Boxed:
    """Record of a box: the old index of its first voxel, below 0 where it was padded."""

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


def pad_to_shape(
    volume: Volume, shape: Sequence[int | None], at_end: bool, mode: str, value: float
) -> tuple[Volume, Boxed | None]:
    """Pad axes that are shorter than a shape.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    shape : sequence of 3
        Voxels; None leaves the axis as it is.
    at_end : bool
        Pad behind the last voxel only; otherwise on both sides, an odd voxel at the end.
    mode : str
        How, a mode of ``numpy.pad``: constant, edge, reflect, symmetric or wrap.
    value : float
        What is padded, for ``constant``.

    Notes
    -----
    Source: MONAI 1.6.1, ``transforms/croppad/array.py``, ``SpatialPad``; this module is checked by
    ``tests/parity/test_monai.py``.
    """
    wanted = [
        size if n is None else max(n, size) for n, size in zip(shape, volume.shape, strict=True)
    ]
    return _pad(volume, wanted, at_end, mode, value)


def pad_to_multiple(
    volume: Volume, of: Sequence[int], at_end: bool, mode: str, value: float
) -> tuple[Volume, Boxed | None]:
    """Pad every axis to the next multiple of a number. Source: MONAI, ``DivisiblePad``."""
    wanted = [-(-size // n) * n for n, size in zip(of, volume.shape, strict=True)]
    return _pad(volume, wanted, at_end, mode, value)


def pad_or_crop(
    volume: Volume, shape: Sequence[int | None], at_end: bool, mode: str, value: float
) -> tuple[Volume, Boxed | None]:
    """Pad what is shorter than a shape, and crop what is longer around the middle.

    Source: MONAI, ``ResizeWithPadOrCrop``; see `pad_to_shape`.
    """
    wanted = [size if n is None else n for n, size in zip(shape, volume.shape, strict=True)]
    start = [
        size // 2 - n // 2 if n < size else -((not at_end) * ((n - size) // 2))
        for n, size in zip(wanted, volume.shape, strict=True)
    ]
    return _cut(volume, start, wanted, mode, value)


def crop_to_foreground(
    volume: Volume,
    channels: Sequence[int] | None,
    above: float,
    margin: Sequence[int],
    inside: bool,
    multiple: Sequence[int],
    mode: str,
    value: float,
) -> tuple[Volume, Boxed | None]:
    """Crop to the box around the voxels that exceed a value in some channel.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    channels : sequence of int or None
        Those that are looked at; None for all.
    above : float
        The value.
    margin : sequence of 3 ints
        Voxels added on both sides of each axis.
    inside : bool
        Whether the margin ends at the image; otherwise the image is padded.
    multiple : sequence of 3 ints
        The box grows around its middle to multiples of these, beyond the image where needed.
    mode, value
        See `pad_to_shape`.

    Raises
    ------
    ImageError
        If no voxel does.

    Notes
    -----
    Source: MONAI 1.6.1, ``transforms/croppad/array.py``, ``CropForeground``.
    """
    looked_at = volume.data if channels is None else volume.data[list(channels)]
    mask: AnyArray = np.any(looked_at > above, axis=0)
    start, size = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            raise ImageError(
                f"no voxel of the image is above {above:g}; one with something in it is needed. "
                "Check that it is the right file."
            )
        low, high = int(found[0]) - margin[axis], int(found[-1]) + 1 + margin[axis]
        if inside:
            low, high = max(low, 0), min(high, volume.shape[axis])
        length = -(-(high - low) // multiple[axis]) * multiple[axis]
        start.append(low - (length - (high - low)) // 2)
        size.append(length)
    return _cut(volume, start, size, mode, value)


def _pad(
    volume: Volume, wanted: Sequence[int], at_end: bool, mode: str, value: float
) -> tuple[Volume, Boxed | None]:
    start = [
        0 if at_end else -((n - size) // 2) for n, size in zip(wanted, volume.shape, strict=True)
    ]
    return _cut(volume, start, wanted, mode, value)


def _cut(
    volume: Volume, start: Sequence[int], size: Sequence[int], mode: str, value: float
) -> tuple[Volume, Boxed | None]:
    """Return the box, cropped first and padded then, so that edges are those of the box."""
    if tuple(size) == volume.shape and not any(start):
        return volume, None
    inside: list[slice] = [slice(None)]
    widths = [(0, 0)]
    for a, n, old in zip(start, size, volume.shape, strict=True):
        inside.append(slice(max(a, 0), min(a + n, old)))
        widths.append((max(-a, 0), max(a + n - old, 0)))
    data = volume.data[tuple(inside)]
    if np.any(widths):
        data = pad(data, widths, mode, value)
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, start)
    return Volume(data, affine, volume.spacing), Boxed(tuple(start), volume.shape)


def pad(array: AnyArray, widths: Sequence[tuple[int, int]], mode: str, value: float) -> AnyArray:
    """Pad an array, ``value`` being for constant padding alone."""
    keywords = {"constant_values": value} if mode == "constant" else {}
    padded: AnyArray = np.pad(array, widths, mode=mode, **keywords)  # type: ignore[call-overload]
    return padded


def pad_to_patch(
    data: AnyArray, patch_size: Sequence[int], mode: str, value: float
) -> tuple[AnyArray, tuple[slice, ...]]:
    """Pad images that are smaller than a patch.

    Parameters
    ----------
    data : array of shape (C, X, Y, Z)
        Images.
    patch_size : sequence of 3 ints
        In voxels.
    mode, value
        See `pad_to_shape`.

    Returns
    -------
    padded : array of shape (C, X', Y', Z')
        Centred; an odd voxel goes to the end.
    inside : tuple of 3 slices
        Where the images are in it.
    """
    missing = [max(n - size, 0) for n, size in zip(patch_size, data.shape[1:], strict=True)]
    widths = [(0, 0), *((room // 2, room - room // 2) for room in missing)]
    inside = tuple(
        slice(low, low + size) for (low, _), size in zip(widths[1:], data.shape[1:], strict=True)
    )
    return (pad(data, widths, mode, value) if any(missing) else data), inside
