"""Resampling to a voxel size by way of the affine: the grid keeps its first voxel's centre.

`deepseg_lite.steps.resample.resample` keeps the corners of the field of view instead, as nnU-Net
does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes

from deepseg_lite.steps.grid_sample import Sampling, pull
from deepseg_lite.volume import Affine, AnyArray, Volume, check_grid

TOLERANCE = 1e-3
"""Spacings (mm) and affines that differ by no more count as equal (MONAI ``AFFINE_TOL``)."""


@dataclass(frozen=True, eq=False)
class Respaced:
    """Record of `respace`: voxel indices of the old grid to those of the new one."""

    matrix: Affine
    shape: tuple[int, int, int]
    sampling: Sampling

    def undo(self, array: AnyArray) -> AnyArray:
        """Return an array of shape (..., X', Y', Z') on the old grid, (..., X, Y, Z), float32."""
        flat = array.reshape(-1, *array.shape[-3:]).astype(np.float32, copy=False)
        pulled = pull(flat, self.matrix, self.shape, self.sampling)
        return pulled.reshape(*array.shape[:-3], *self.shape)


def respace(
    volume: Volume,
    spacing: Sequence[float | None],
    diagonal: bool,
    image: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> tuple[Volume, Respaced | None]:
    """Resample a volume to a voxel size.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    spacing : sequence of 3
        Target voxel size in mm; None keeps the volume's. So does a volume's spacing within 0.001.
    diagonal : bool
        Resample onto the axes of the world instead of the volume's own.
    image, scores : mapping
        `Sampling` of intensities to the new grid, and of scores back from it.

    Returns
    -------
    resampled : Volume
        Data of shape (C, X', Y', Z'), float32.
    record : Respaced or None
        None where the grid did not change.

    Notes
    -----
    Source: MONAI 1.6.1, ``transforms/spatial/array.py``, ``Spacing``; checked by
    ``tests/parity/test_monai.py``.
    """
    old = np.asarray(volume.affine, np.float64)
    target = [
        size if new is None or abs(size - new) <= TOLERANCE else float(new)
        for new, size in zip(spacing, voxel_sizes(old), strict=True)
    ]
    new: Affine = np.diag([*target, 1.0]) if diagonal else _rescaled(old, target)
    shape, new[:3, 3] = _shape_and_origin(volume.shape, old, new)
    check_grid(shape, target)
    matrix: Affine = np.linalg.solve(old, new).astype(np.float64)
    if shape == volume.shape and (_close(old, new) or _close(matrix, np.eye(4))):
        return volume, None
    data = pull(volume.data, matrix, shape, Sampling(**image))
    new = old @ matrix
    x, y, z = (float(size) for size in voxel_sizes(new))
    record = Respaced(
        np.linalg.solve(new, old).astype(np.float64), volume.shape, Sampling(**scores)
    )
    return Volume(data, new, (x, y, z)), record


def _close(a: Affine, b: Affine) -> bool:
    return bool(np.allclose(a, b, rtol=1e-5, atol=TOLERANCE))


def _rescaled(affine: Affine, spacing: Sequence[float]) -> Affine:
    """Return an affine of the given voxel size with the rotation of another; shear is dropped."""
    zoomed = affine[:3, :3]
    upper = np.linalg.cholesky(zoomed.T @ zoomed).T
    result = np.eye(4)
    result[:3, :3] = zoomed @ np.linalg.inv(upper) @ np.diag(spacing)
    return result


def _shape_and_origin(
    shape: tuple[int, int, int], old: Affine, new: Affine
) -> tuple[tuple[int, int, int], Affine]:
    """Return the shape that holds every old voxel's centre, and where its first voxel is in mm.

    Source: MONAI 1.6.1, ``data/utils.py``, ``compute_shape_offset`` with ``scale_extent=False``.
    """
    ends = [(0.0, size - 1.0) for size in shape]
    corners = np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    corners = np.concatenate([corners, np.ones((1, 8))])
    placed = (np.linalg.solve(new, old) @ corners)[:3]
    x, y, z = (int(size) for size in np.round(np.ptp(placed, axis=1) + 1))
    for corner, point in zip(corners.T, placed.T, strict=True):
        if np.allclose((placed.T - point).min(axis=0), 0):
            return (x, y, z), (old @ corner)[:3]
    middle = old[:3, :3] @ (np.array(shape) / 2) + old[:3, 3]
    return (x, y, z), middle - new[:3, :3] @ (np.array([x, y, z]) / 2)
