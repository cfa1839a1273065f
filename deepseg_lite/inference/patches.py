"""Patches of a volume: their size, places and weights, from a manifest's window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from deepseg_lite.bundles.bundle import SlidingWindow
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.volume import FloatArray


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """Patches on one volume: their size, first voxels along each axis, weights and padding."""

    patch_size: PatchSize
    starts: Starts
    importance: FloatArray
    padding: tuple[str, float]

    @property
    def count(self) -> int:
        """Number of patches."""
        return math.prod(map(len, self.starts))


def plan_windows(
    window: SlidingWindow, shape: tuple[int, int, int], step: float | None = None
) -> WindowPlan:
    """Return the patches of a volume.

    Parameters
    ----------
    window : SlidingWindow
        What the manifest says.
    shape : tuple of 3 ints
        Of the volume in front of the network.
    step : float, optional
        Largest distance of neighbours as a fraction of the patch, in place of the manifest's; not
        for patches at a fixed stride.

    Raises
    ------
    ImageError
        If patches at a fixed stride do not fit the volume.
    """
    patch_size = whole_axes(window.patch_size, shape)
    padded = tuple(map(max, shape, patch_size))
    if window.placement == "spread":
        starts = spread_starts(shape, patch_size, 1 - window.overlap[0] if step is None else step)
    elif window.placement == "interval":
        overlap = window.overlap if step is None else (1 - step,) * 3
        starts = tuple(map(interval_starts, padded, patch_size, overlap))
    else:
        stride = whole_axes(window.stride, shape)
        clamp = window.placement == "clamped_stride"
        starts = tuple(
            stride_starts(size, patch, distance, clamp=clamp)
            for size, patch, distance in zip(shape, patch_size, stride, strict=True)
        )
    count = math.prod(map(len, starts))
    if count > MAX_PATCHES:
        raise OptionError(
            f"{count} patches would be needed for {' x '.join(map(str, shape))} voxels, more than "
            f"{MAX_PATCHES}; give a larger `step`, or a model whose patches overlap less."
        )
    if window.importance_map == "gaussian":
        importance = gaussian_importance(patch_size, window.sigma_scale)
    else:
        importance = importance_map(patch_size, window.importance_map)
    return WindowPlan(patch_size, starts, importance, window.padding)


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


SMALLEST_WEIGHT = 1e-3
MAX_PATCHES = 1_000_000


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


PatchSize = tuple[int, int, int]
Starts = Sequence[Sequence[int]]


def patch_starts(size: int, patch: int, step: float) -> list[int]:
    """Return where patches start along one axis: spread evenly from edge to edge, rounded.

    Parameters
    ----------
    size, patch : int
        Voxels; ``size >= patch``.
    step : float
        Largest distance of neighbours as a fraction of the patch, above 0 to 1.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``inference/sliding_window_prediction.py``,
    ``compute_steps_for_sliding_window`` with ``tile_step_size = step``; starts that rounding makes
    equal are visited once.
    """
    count = math.ceil((size - patch) / (patch * step)) + 1
    if count == 1:
        return [0]
    if count > size - patch:  # nearer than a voxel, so every voxel is one
        return list(range(size - patch + 1))
    interval = (size - patch) / (count - 1)
    return sorted({round(interval * index) for index in range(count)})


def importance_map(patch_size: PatchSize, kind: str) -> FloatArray:
    """Return the weight of each voxel of a patch, shape (P), float32.

    ``gaussian_filter``: a delta at ``size // 2`` filtered with sigma ``size / 8``, its maximum 10,
    rounded to half precision as upstream keeps it, zeros raised to the smallest positive value.
    ``constant``: ones.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``inference/sliding_window_prediction.py``, ``compute_gaussian`` with
    ``value_scaling_factor=10``; the delta's filter is the product of its axes' filters.
    """
    if kind == "constant":
        return np.ones(patch_size, np.float32)
    axes = []
    for size in patch_size:
        delta = np.zeros(size)
        delta[size // 2] = 1
        axes.append(scipy.ndimage.gaussian_filter1d(delta, size / 8, mode="constant"))
    x, y, z = axes
    weights = x[:, None, None] * y[:, None] * z
    half = (weights / (weights.max() / 10)).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    weights_map: FloatArray = half.astype(np.float32)
    return weights_map


def spread_starts(shape: Sequence[int], patch_size: PatchSize, step: float) -> Starts:
    """Return `patch_starts` of every axis; a volume smaller than a patch is padded to it."""
    return tuple(
        patch_starts(max(size, patch), patch, step)
        for size, patch in zip(shape, patch_size, strict=True)
    )
