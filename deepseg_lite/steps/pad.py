"""Cutting a box out of a volume that may reach beyond it: crops, paddings and both at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.affines import apply_affine

from deepseg_lite.steps.box import Cropped, cut, pad
from deepseg_lite.volume import AnyArray, Volume


def pad_to_shape(
    volume: Volume, shape: Sequence[int | None], at_end: bool, mode: str, value: float
) -> tuple[Volume, Cropped | None]:
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
) -> tuple[Volume, Cropped | None]:
    """Pad every axis to the next multiple of a number. Source: MONAI, ``DivisiblePad``."""
    wanted = [-(-size // n) * n for n, size in zip(of, volume.shape, strict=True)]
    return _pad(volume, wanted, at_end, mode, value)


def pad_or_crop(
    volume: Volume, shape: Sequence[int | None], at_end: bool, mode: str, value: float
) -> tuple[Volume, Cropped | None]:
    """Pad what is shorter than a shape, and crop what is longer around the middle.

    Source: MONAI, ``ResizeWithPadOrCrop``; see `pad_to_shape`.
    """
    wanted = [size if n is None else n for n, size in zip(shape, volume.shape, strict=True)]
    start = [
        size // 2 - n // 2 if n < size else -((not at_end) * ((n - size) // 2))
        for n, size in zip(wanted, volume.shape, strict=True)
    ]
    return cut(volume, start, wanted, mode, value)


def field_of_view(
    volume: Volume,
    shape: Sequence[int | None],
    mode: str,
    value: float,
    *,
    center: Sequence[float] | None = None,
) -> tuple[Volume, Cropped | None]:
    """Pad and crop a volume to so many voxels around its middle, or around a point.

    The voxel at half of the old size, rounded down, becomes that at half of the new one: where an
    odd number of voxels is missing, one more is added in front.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    shape : sequence of 3 ints or None
        Voxels to keep per axis; None leaves the axis as it is.
    mode, value
        See `pad_to_shape`.
    center : sequence of 3 floats or None
        Point to look around, in mm, along axes that are cropped, as far as nothing has to be
        padded for it; None for the middle.

    Returns
    -------
    seen : Volume
        Data of shape (C, *shape), in C order: sums over it are those of an array of its own.
    record : Cropped or None
        ``record.undo`` maps (..., *shape) back, zeros where it was cropped.

    Notes
    -----
    Source: the Spinal Cord Toolbox, main branch of August 2026, ``deepseg_/gm.py``,
    ``ShapeTransform``; checked by ``tests/parity/test_keras.py``.
    """
    wanted = [size if n is None else n for n, size in zip(shape, volume.shape, strict=True)]
    start = [size // 2 - n // 2 for n, size in zip(wanted, volume.shape, strict=True)]
    if center is not None:
        point = apply_affine(np.linalg.inv(volume.affine), center)
        start = [
            min(max(round(at) - n // 2, 0), size - n) if n < size else first
            for at, n, size, first in zip(point.tolist(), wanted, volume.shape, start, strict=True)
        ]
    seen, record = cut(volume, start, wanted, mode, value)
    return Volume(np.ascontiguousarray(seen.data), seen.affine, seen.spacing), record


def _pad(
    volume: Volume, wanted: Sequence[int], at_end: bool, mode: str, value: float
) -> tuple[Volume, Cropped | None]:
    start = [
        0 if at_end else -((n - size) // 2) for n, size in zip(wanted, volume.shape, strict=True)
    ]
    return cut(volume, start, wanted, mode, value)


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
