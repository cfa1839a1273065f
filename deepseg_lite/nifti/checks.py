"""Checks of images: each failure is one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseg_lite.errors import ImageError
from deepseg_lite.notice import Notice, Warn, log

LARGEST = 1e15
"""Largest intensity that is taken, of either sign."""


def check_shape(shape: Sequence[int], name: str) -> None:
    """Raise `ImageError` unless a shape is that of one 3-D volume; (X, Y, Z, 1) counts as one."""
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        advice = "Extract or average volumes first." if len(shape) > 3 else "Give the whole volume."
        raise ImageError(
            f"{name} has {len(shape)} dimensions {tuple(shape)}; one 3-D volume is needed. {advice}"
        )
    if 0 in shape:
        raise ImageError(f"{name} has no voxels (shape {tuple(shape)}); give another image.")


def check_array(data: npt.NDArray[Any], name: str, warn: Warn = log) -> npt.NDArray[np.float32]:
    """Return one channel (X, Y, Z) as float32 after checking that it can be segmented."""
    check_shape(data.shape, name)
    values = check_finite(data.reshape(data.shape[:3]), name)
    _check_content(values, name, warn)
    return values


def check_series(data: npt.NDArray[Any], name: str, warn: Warn = log) -> npt.NDArray[Any]:
    """Return one image that may be a time series (X, Y, Z, T), as it is stored, after checks."""
    if data.ndim != 4 or 0 in data.shape:
        check_array(data, name, warn)
        return data.reshape(data.shape[:3])
    for volume in np.moveaxis(data, 3, 0):
        check_finite(volume, name)
    _check_content(data, name, warn)
    return data


def _check_content(data: npt.NDArray[Any], name: str, warn: Warn) -> None:
    value = data.flat[0]
    if (data != value).any():
        return
    if not value:
        raise ImageError(f"{name} holds nothing but zeros; give another image.")
    text = f"every voxel is {float(value):g}: there is nothing to be seen. Check the image."
    warn(Notice("constant", text, name, {"value": float(value)}))


def check_type(dtype: np.dtype[Any], name: str) -> None:
    """Raise `ImageError` unless voxels of a type are real numbers."""
    if dtype.kind not in "biuf":
        raise ImageError(f"{name} holds {dtype} voxels; real numbers are needed. Convert it.")


def check_finite(data: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Return voxels as float32 after checking that they are real numbers that can be computed with.

    Squares of what is beyond `LARGEST`, summed, would be infinite in single precision.
    """
    check_type(data.dtype, name)
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as that
        values: npt.NDArray[np.float32] = data.astype(np.float32)
    low, high = values.min(), values.max()  # NaN if there is one
    if not np.isfinite([low, high]).all():
        count = int(values.size - np.isfinite(values).sum())
        raise ImageError(
            f"{name} is NaN or infinite in {count} of its voxels; replace them, for example by 0."
        )
    if max(-low, high) > LARGEST:
        count = int((np.abs(values) > LARGEST).sum())
        raise ImageError(
            f"{name} is beyond {LARGEST:g} (up to {max(-low, high):.3g}) in {count} of its voxels, "
            "which no scanner gives; replace them, for example by 0."
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
