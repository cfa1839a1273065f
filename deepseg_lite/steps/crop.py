"""Cutting a volume to a window that may reach beyond it, where it is filled with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.box import Cropped, cut
from deepseg_lite.volume import AnyArray, FloatArray, Volume


def center_crop(volume: Volume, size: Sequence[int | None]) -> tuple[Volume, Cropped | None]:
    """Crop or pad a volume around its centre.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    size : sequence of 3 ints or None
        Voxels to keep per axis; None leaves the axis as it is.

    Returns
    -------
    cropped : Volume
        Data of shape (C, *size).
    record : Cropped or None
        ``record.undo`` maps (..., *size) back, zeros where it was cut.

    Notes
    -----
    Source: ivadomed 2.9.10, ``transforms.CenterCrop``: half of the difference, rounded to even;
    checked by ``tests/parity/test_ivadomed.py``.
    """
    sizes = [old if new is None else new for new, old in zip(size, volume.shape, strict=True)]
    start = [round((old - new) / 2) for new, old in zip(sizes, volume.shape, strict=True)]
    return cut(volume, start, sizes)


@dataclass(frozen=True)
class Kept:
    """Record of `drop_constant_slices`: indices that stayed, and how many slices there were."""

    indices: tuple[int, ...]
    count: int

    def undo(self, array: AnyArray) -> AnyArray:
        """Return (..., x, Y, Z) as (..., X, Y, Z), zeros in the slices that were dropped."""
        full = np.zeros((*array.shape[:-3], self.count, *array.shape[-2:]), array.dtype)
        full[..., list(self.indices), :, :] = array
        return full


def drop_constant_slices(volume: Volume) -> tuple[Volume, Kept]:
    """Leave out slices, along the first axis, in which some channel has one value throughout.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z), slices along X.

    Returns
    -------
    kept : Volume
        Data of shape (C, x, Y, Z). The affine is that of the first slice before; distances along X
        no longer mean anything.
    record : Kept
        ``record.undo`` gives the dropped slices zeros.

    Raises
    ------
    ImageError
        If no slice is left.

    Notes
    -----
    Source: ivadomed 2.9.10, ``loader/slice_filter.py``, ``filter_empty_input``; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    indices = [
        index
        for index in range(volume.shape[0])
        if all(np.ascontiguousarray(channel[index]).std() > 0 for channel in volume.data)
    ]
    if not indices:
        raise ImageError(
            "Every slice of the image has one value throughout; slices with contrast are needed. "
            "Check the image, and that its affine names the right axes."
        )
    kept = volume.data if len(indices) == volume.shape[0] else volume.data[:, indices]
    return Volume(kept, volume.affine, volume.spacing), Kept(tuple(indices), volume.shape[0])


def crop_to_foreground(
    volume: Volume,
    channels: Sequence[int] | None,
    above: float,
    margin: Sequence[int],
    inside: bool,
    multiple: Sequence[int],
    mode: str,
    value: float,
) -> tuple[Volume, Cropped | None]:
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
    return cut(volume, start, size, mode, value)


def nonzero_mask(data: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return where any channel of (C, X, Y, Z) is not zero, enclosed holes filled.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``preprocessing/cropping/cropping.py``, ``create_nonzero_mask``.
    """
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (data != 0).any(axis=0)
    return mask if mask.all() else scipy.ndimage.binary_fill_holes(mask)


def crop_to_nonzero(volume: Volume) -> tuple[Volume, Cropped | None]:
    """Crop to the bounding box of the voxels that are not zero in some channel.

    Filling holes cannot move the bounding box, so the mask itself is enough.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``preprocessing/cropping/cropping.py``, ``crop_to_nonzero``; checked by
    ``tests/parity/test_parts.py``.
    """
    mask = (volume.data != 0).any(axis=0)
    if not mask.any():
        return volume, None
    (box,) = scipy.ndimage.find_objects(mask.astype(np.uint8))
    return cut(volume, [part.start for part in box], [part.stop - part.start for part in box])
