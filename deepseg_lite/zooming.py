"""Resampling that keeps voxel centres: the first and last voxel of an axis stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

from deepseg_lite.geometry import Resampled
from deepseg_lite.interpolation import ResamplingPlan
from deepseg_lite.volume import FloatArray, Spacing, Volume

IMAGE_ORDER, SCORE_ORDER = 2, 1


def zoom(volume: Volume, spacing: Sequence[float | None]) -> tuple[Volume, Resampled]:
    """Resample a volume with quadratic splines; its record undoes that linearly.

    An axis of n voxels gets ``round(n * old / new)``, ties to even; the outer voxel centres stay
    in place, so the real spacing differs a little from the one asked for.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    spacing : sequence of 3 floats or None
        Target voxel size in mm, axis order of ``volume.data``; None leaves the axis as it is, which
        resamples a 2-D network's slices one by one.

    Returns
    -------
    zoomed : Volume
        Data of shape (C, X', Y', Z'), float32; ``spacing`` is the target.
    record : Resampled
        ``record.undo`` and ``record.undo_slabs`` map scores (K, X', Y', Z') back.

    Notes
    -----
    Source: ivadomed 2.9.10, ``transforms.Resample``, that is ``scipy.ndimage.zoom`` with order 2
    and back with order 1, and with voxel sizes as the header holds them, in single precision;
    checked by ``tests/parity/test_ivadomed.py``.
    """
    target: list[float] = []
    shape: list[int] = []
    for size, old, new in zip(volume.shape, volume.spacing, spacing, strict=True):
        target.append(old if new is None else float(new))
        factor = 1.0 if new is None else float(np.float32(old)) / new
        shape.append(max(1, round(size * factor)))
    forward = _plan(volume.shape, shape, IMAGE_ORDER)
    data = np.empty((len(volume.data), *shape), np.float32)
    for c, channel in enumerate(volume.data):
        data[c] = forward.apply(channel.astype(np.float64), slice(0, shape[0]), None)
    steps = [
        (old - 1) / (new - 1) if new > 1 else 1.0
        for old, new in zip(volume.shape, shape, strict=True)
    ]
    kept: Spacing = (target[0], target[1], target[2])
    zoomed = Volume(data, volume.affine @ np.diag([*steps, 1.0]), kept)
    return zoomed, Resampled(_plan(shape, volume.shape, SCORE_ORDER))


def reoriented_spacing(volume: Volume, orientation: str) -> Volume:
    """Return a volume with the voxel sizes that its header would have after reorienting the file.

    nibabel computes them anew from the affine, unless the file has that orientation already. They
    differ from the header's in the last digit, which can decide how a shape is rounded.

    Parameters
    ----------
    volume : Volume
        As it was read, before `deepseg_lite.geometry.to_frame`.
    orientation : str
        Axis codes that the image will be brought to.

    Notes
    -----
    Source: nibabel ``as_closest_canonical``, which ivadomed 2.9.10 loads images with; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    if volume.orientation == orientation:
        return volume
    x, y, z = (float(np.float32(size)) for size in voxel_sizes(volume.affine))
    return Volume(volume.data, volume.affine, (x, y, z))


def _plan(shape: Sequence[int], new_shape: Sequence[int], order: int) -> ResamplingPlan:
    x, y, z = (
        None if old == new else centre_matrix(old, new, order)
        for old, new in zip(shape, new_shape, strict=True)
    )
    return ResamplingPlan((x, y, z), tuple(new_shape), separate=None, clip=False)


@lru_cache(maxsize=32)
def centre_matrix(size: int, new_size: int, order: int) -> FloatArray:
    """Return the matrix (new_size, size) that resamples one axis; outer voxel centres stay.

    Notes
    -----
    Source: ``scipy.ndimage.zoom`` with its default settings, which it calls: rounding may put the
    last position beyond the axis, where it gives 0, and this must give that, too.
    """
    columns = [ndimage.zoom(unit, new_size / size, order=order) for unit in np.eye(size)]
    return np.stack(columns, axis=1)
