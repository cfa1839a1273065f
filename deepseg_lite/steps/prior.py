"""Boxes around what an earlier model found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.box import Cropped, cut
from deepseg_lite.volume import AnyArray, Volume


def crop_to_prior(
    volume: Volume,
    prior: Volume,
    *,
    safety_factor: Sequence[float],
    patch_size: Sequence[int],
    stride: Sequence[int],
) -> tuple[Volume, Cropped | None]:
    """Crop a resampled volume to the box around an earlier result.

    Parameters
    ----------
    volume : Volume
        What is cropped, after `deepseg_lite.steps.resample.zoom`.
    prior : Volume
        The earlier result before it, in the same frame, its own spacing; anything but 0 counts.
    safety_factor, patch_size, stride
        As for `prior_box`.

    Returns
    -------
    cropped : Volume
        Zeros where the box reaches beyond the volume.
    record : Cropped or None
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
    return cut(volume, *box)


def crop_around_prior(
    volume: Volume, prior: Volume, *, margin_mm: Sequence[float | None]
) -> tuple[Volume, Cropped | None]:
    """Crop a volume to the box around an earlier result, and a margin.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    prior : Volume
        The earlier result on the same grid; anything but 0 counts.
    margin_mm : sequence of 3 floats or None
        Added on both sides as far as there is an image; None leaves the axis as it is.

    Returns
    -------
    cropped : Volume
        The volume itself where the prior is empty: there is nothing to look around, so the networks
        look everywhere.
    record : Cropped or None
        ``record.undo`` maps back.
    """
    found = np.asarray(prior.data.any(axis=0))
    if not found.any():
        return volume, None
    start, size = [0, 0, 0], list(volume.shape)
    for axis, margin in enumerate(margin_mm):
        if margin is not None:
            marked = np.flatnonzero(found.any(axis=tuple({0, 1, 2} - {axis})))
            reach = math.ceil(margin / volume.spacing[axis])
            start[axis] = max(int(marked[0]) - reach, 0)
            size[axis] = min(int(marked[-1]) + reach + 1, volume.shape[axis]) - start[axis]
    return cut(volume, start, size)


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
    components, count = scipy.ndimage.label(mask)
    if count == 0:
        raise ImageError(
            "The first stage found nothing to crop to; an image that shows what it looks for is "
            "needed. Check the image's contrast and field of view."
        )
    (found,) = scipy.ndimage.find_objects(components, max_label=1)
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
