"""Windows at a fixed interval with analytic Gaussian weights, as MONAI places and blends them.

Source: MONAI 1.6.1, ``inferers/utils.py``, ``sliding_window_inference``; checked by
``tests/parity/test_monai.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepseg_lite.volume import FloatArray

SMALLEST_WEIGHT = 1e-3


def whole_axes(patch_size: Sequence[int | None], shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the patch in voxels: None is the whole axis."""
    x, y, z = (size if n is None else n for n, size in zip(patch_size, shape, strict=True))
    return x, y, z


def interval_starts(size: int, patch: int, overlap: float) -> list[int]:
    """Return where patches start along one axis: at a fixed distance, the last moved back.

    Parameters
    ----------
    size, patch : int
        Voxels; ``size >= patch``.
    overlap : float
        Fraction shared by neighbours, from 0 to below 1; the distance is rounded down.
    """
    interval = patch if size == patch else max(1, int(patch * (1 - overlap)))
    count = -(-(size - patch) // interval) + 1
    return [min(index * interval, size - patch) for index in range(count)]


def gaussian_importance(patch_size: Sequence[int], sigma_scale: Sequence[float]) -> FloatArray:
    """Return a Gaussian around the middle of a patch, shape (P), float32.

    Parameters
    ----------
    patch_size : sequence of 3 ints
        P, in voxels.
    sigma_scale : sequence of 3 floats
        Standard deviation per axis as a fraction of the patch. Weights stay at or above 0.001.
    """
    weights = np.ones(1, np.float32)
    for size, scale in zip(patch_size, sigma_scale, strict=True):
        distance = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        bell = np.exp(distance**2 / np.float32(-2 * (size * scale) ** 2))
        weights = weights[..., None] * bell
    result: FloatArray = np.maximum(weights[0], np.float32(max(weights.min(), SMALLEST_WEIGHT)))
    return result
