"""Where patches lie on a volume and how they are weighted: a manifest's window, made concrete."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepseg_lite.bundle import SlidingWindow
from deepseg_lite.placement import stride_starts
from deepseg_lite.sliding_window import PatchSize, Starts, importance_map, spread_starts
from deepseg_lite.volume import FloatArray
from deepseg_lite.windows import gaussian_importance, interval_starts, whole_axes


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
    if window.importance_map == "gaussian":
        importance = gaussian_importance(patch_size, window.sigma_scale)
    else:
        importance = importance_map(patch_size, window.importance_map)
    return WindowPlan(patch_size, starts, importance, window.padding)
