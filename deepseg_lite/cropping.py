"""Cutting a volume to a window that may reach beyond it, where it is filled with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from deepseg_lite.errors import ImageError
from deepseg_lite.padding import Boxed
from deepseg_lite.volume import AnyArray, Volume


def _window(array: AnyArray, start: Sequence[int], size: Sequence[int]) -> AnyArray:
    """Return the voxels of a window of the last three axes, zeros outside the array."""
    result = np.zeros((*array.shape[:-3], *size), array.dtype)
    inside, source = [], []
    for first, length, old in zip(start, size, array.shape[-3:], strict=True):
        low = max(first, 0)
        high = max(min(first + length, old), low)
        source.append(slice(low, high))
        inside.append(slice(low - first, high - first))
    leading: tuple[Any, ...] = (...,)
    result[(*leading, *inside)] = array[(*leading, *source)]
    return result


def crop_or_pad(volume: Volume, start: Sequence[int], size: Sequence[int]) -> tuple[Volume, Boxed]:
    """Take the window of ``size`` voxels from ``start`` on, in the volume's axes."""
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, list(start))
    windowed = Volume(_window(volume.data, start, size), affine, volume.spacing)
    return windowed, Boxed(tuple(start), volume.shape)


def center_crop(volume: Volume, size: Sequence[int | None]) -> tuple[Volume, Boxed]:
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
    record : Boxed
        ``record.undo`` maps (..., *size) back, zeros where it was cut.

    Notes
    -----
    Source: ivadomed 2.9.10, ``transforms.CenterCrop``: half of the difference, rounded to even;
    checked by ``tests/parity/test_ivadomed.py``.
    """
    sizes = [old if new is None else new for new, old in zip(size, volume.shape, strict=True)]
    start = [round((old - new) / 2) for new, old in zip(sizes, volume.shape, strict=True)]
    return crop_or_pad(volume, start, sizes)


def crop_to_prior(
    volume: Volume,
    prior: Volume,
    *,
    safety_factor: Sequence[float],
    patch_size: Sequence[int],
    stride: Sequence[int],
) -> tuple[Volume, Boxed]:
    """Crop a resampled volume to the box around an earlier result.

    Parameters
    ----------
    volume : Volume
        What is cropped, after `deepseg_lite.zooming.zoom`.
    prior : Volume
        The earlier result before it, in the same frame, its own spacing; anything but 0 counts.
    safety_factor, patch_size, stride
        As for `prior_box`.

    Returns
    -------
    cropped : Volume
        Zeros where the box reaches beyond the volume.
    record : Boxed
        ``record.undo`` maps back.

    Raises
    ------
    ImageError
        If the prior is empty.

    Notes
    -----
    Source: ivadomed 2.9.10, ``object_detection/utils.py`` and ``transforms.BoundingBoxCrop``;
    checked by ``tests/parity/test_ivadomed.py``.
    """
    scale = [
        1.0 if old == new else float(np.float32(old)) / new
        for old, new in zip(prior.spacing, volume.spacing, strict=True)
    ]
    box = prior_box(prior.data[0], safety_factor, scale, patch_size, stride)
    return crop_or_pad(volume, *box)


def prior_box(
    mask: AnyArray,
    safety_factor: Sequence[float],
    scale: Sequence[float],
    patch_size: Sequence[int],
    stride: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Return start and size of the box around a mask, on a grid that is ``scale`` times as fine.

    Parameters
    ----------
    mask : array of shape (X, Y, Z)
        The first face-connected component in array order counts, not the largest.
    safety_factor : sequence of 3 floats
        What the box is enlarged by. It grows to both sides, but ends at the lower border.
    scale : sequence of 3 floats
        Voxels of the new grid per voxel of the mask's.
    patch_size, stride : sequence of 3 ints
        The box grows at its upper end until patches fit it exactly.

    Raises
    ------
    ImageError
        If the mask is empty.

    Notes
    -----
    Source: ivadomed 2.9.10, ``object_detection/utils.py``. The last voxel of the component is left
    out, and lengths are cut to whole voxels: the original does so.
    """
    components, count = ndimage.label(mask)
    if count == 0:
        raise ImageError(
            "The first stage found nothing to crop to; an image that shows what it looks for is "
            "needed. Check the image's contrast and field of view."
        )
    (found,) = ndimage.find_objects(components, max_label=1)
    starts, sizes = [], []
    for axis, part in enumerate(found):
        extent = part.stop - 1 - part.start
        length = extent * safety_factor[axis]
        low = round(max(part.start - (length - extent) // 2, 0))
        high = int(low + length)
        first, last = low * scale[axis], high * scale[axis]
        start = round(first)
        size = max(int(start + (last - first)) - start, patch_size[axis])
        starts.append(start)
        sizes.append(size + (patch_size[axis] - size) % stride[axis])
    return starts, sizes
