"""Patches at a fixed distance, each normalised by itself."""

from __future__ import annotations

import numpy as np

from deepseg_lite.errors import ImageError
from deepseg_lite.volume import FloatArray

MINIMUM_STD = 1e-5
"""Patches that vary less are only shifted to a mean of 0."""


def stride_starts(size: int, patch: int, stride: int, *, clamp: bool = False) -> list[int]:
    """Return where patches start along one axis: 0, ``stride``, twice that, and so on.

    Parameters
    ----------
    size, patch, stride : int
        Voxels.
    clamp : bool
        Move a last patch that would stick out back to the border. Without it they must fit.

    Raises
    ------
    ImageError
        If the axis is shorter than a patch, or patches do not fit it exactly.

    Notes
    -----
    Source: ivadomed 2.9.10, ``loader/mri3d_subvolume_segmentation_dataset.py``, and with ``clamp``
    ``loader/mri2d_segmentation_dataset.py``; checked by ``tests/parity/test_ivadomed.py``.
    """
    if size < patch or ((size - patch) % stride and not clamp):
        rule = f"at least {patch}" if clamp else f"{patch} or that and a multiple of {stride}"
        raise ImageError(
            f"An axis has {size} voxels after resampling and cropping; {rule} is needed. Pad or "
            "crop the image, or run the whole task, whose first stage crops it."
        )
    starts = list(range(0, size - patch + 1, stride))
    return starts if starts[-1] == size - patch else [*starts, size - patch]


def normalize_instance(patch: FloatArray) -> FloatArray:
    """Subtract each channel's mean and divide by its standard deviation, if that is at least 1e-5.

    Parameters
    ----------
    patch : array of shape (C, *P)
        Padding counts. A view is best left a view: the order of its sums is the original's.

    Returns
    -------
    normalized : array of shape (C, *P)
        float32.

    Notes
    -----
    Source: ivadomed 2.9.10, ``transforms.NormalizeInstance``; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    result = np.empty(patch.shape, np.float32)
    for channel, out in zip(patch, result, strict=True):
        std = channel.std()
        np.subtract(channel, channel.mean(), out=out)
        if std >= MINIMUM_STD:
            out /= std
    return result
