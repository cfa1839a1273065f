"""Checks of images: each failure is one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseg_lite.errors import ImageError


def check_shape(shape: Sequence[int], name: str) -> None:
    """Raise `ImageError` unless a shape is that of one 3-D volume; (X, Y, Z, 1) counts as one."""
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] == 1):
        advice = "Extract or average volumes first." if len(shape) > 3 else "Give the whole volume."
        raise ImageError(
            f"{name} has {len(shape)} dimensions {tuple(shape)}; one 3-D volume is needed. {advice}"
        )
    if 0 in shape:
        raise ImageError(f"{name} has no voxels (shape {tuple(shape)}); give another image.")


def check_array(data: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Return one channel (X, Y, Z) as float32 after checking that it can be segmented."""
    check_shape(data.shape, name)
    values = check_finite(data.reshape(data.shape[:3]), name)
    if not values.any():
        raise ImageError(f"{name} holds nothing but zeros; give another image.")
    return values


def check_series(data: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Return one image that may be a time series (X, Y, Z, T), as it is stored, after checks."""
    if data.ndim != 4 or 0 in data.shape:
        check_array(data, name)
        return data.reshape(data.shape[:3])
    for volume in np.moveaxis(data, 3, 0):
        check_finite(volume, name)
    if not data.any():
        raise ImageError(f"{name} holds nothing but zeros; give another image.")
    return data


def check_finite(data: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Return voxels as float32 after checking that they are finite real numbers."""
    if data.dtype.kind not in "biuf":
        raise ImageError(f"{name} holds {data.dtype} voxels; real numbers are needed. Convert it.")
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as that
        values: npt.NDArray[np.float32] = data.astype(np.float32)
    if not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise ImageError(
            f"{name} has {count} voxels that are NaN or infinite; replace them, for example by 0."
        )
    return values


def check_affine(affine: npt.ArrayLike, name: str) -> None:
    """Raise `ImageError` unless an affine is 4x4, finite and invertible."""
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ImageError(f"{name} has an affine of shape {matrix.shape}; 4 x 4 is needed.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (
        not np.isfinite(matrix).all()
        or not lengths.all()
        or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6
    ):
        raise ImageError(
            f"{name} has an affine that cannot be inverted, so its orientation is unknown; "
            "repair the header (qform and sform)."
        )
