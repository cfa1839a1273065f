"""Cutting a box out of a volume that may reach beyond it: crops, paddings and both at once."""

from __future__ import annotations

from collections.abc import Sequence

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
