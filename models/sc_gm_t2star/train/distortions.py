"""Distorted copies of a case: image and masks together, for the table of robustness."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Case = tuple[nib.Nifti1Image, Array, Array]  # image, cord, gray matter

CROP_MM = 20.0  # what the cropped field of view leaves around the cord
NOISE = 0.15  # standard deviation as a share of the cord's mean signal
DARKEST = 0.4  # of the receive field, at one side; 1 at the other


def _like(image: nib.Nifti1Image, array: Array) -> nib.Nifti1Image:
    """Return an image with other voxels on the same grid."""
    return nib.Nifti1Image(array.astype(np.float32), image.affine)


def _unchanged(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Leave the case as it is."""
    return image, cord, gray


def _noisy(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Add Rician noise."""
    signal = np.asarray(image.dataobj, np.float64)
    sigma = NOISE * signal[cord].mean()
    real, imaginary = sigma * np.random.default_rng(0).standard_normal((2, *signal.shape))
    return _like(image, np.hypot(signal + real, imaginary)), cord, gray


def _shaded(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Multiply by a field that falls from back to front and from left to right."""
    x, y = (np.linspace(1, DARKEST, n) for n in image.shape[:2])
    return _like(image, np.asarray(image.dataobj) * x[:, None, None] * y[:, None]), cord, gray


def _coarse(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Average 2 x 2 pixels of the image, and of the masks by the majority."""
    x, y, z = image.shape[0] // 2, image.shape[1] // 2, image.shape[2]

    def average(array: Array) -> Array:
        return array[: 2 * x, : 2 * y].reshape(x, 2, y, 2, z).mean(axis=(1, 3))

    affine = image.affine @ np.diag((2, 2, 1, 1))
    affine[:3, 3] += image.affine[:3, :2].sum(axis=1) / 2
    coarse = nib.Nifti1Image(average(np.asarray(image.dataobj)).astype(np.float32), affine)
    return coarse, average(cord) >= 0.5, average(gray) >= 0.5


def _cropped(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Cut out a box around the cord."""
    box = []
    for axis in (0, 1):
        marked = np.flatnonzero(cord.any(axis=(1 - axis, 2)))
        margin = round(CROP_MM / image.header.get_zooms()[axis])
        box.append(slice(max(marked[0] - margin, 0), marked[-1] + margin + 1))
    return image.slicer[box[0], box[1]], cord[box[0], box[1]], gray[box[0], box[1]]


def _flipped(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Swap left and right."""
    return _like(image, np.asarray(image.dataobj)[::-1]), cord[::-1], gray[::-1]


DISTORTIONS = {
    "none": _unchanged,
    "noise, 15 % of the cord's signal": _noisy,
    "receive field, 1 to 0.4 along x and y": _shaded,
    "down-sampled by 2 in plane": _coarse,
    "field of view cropped to 20 mm around the cord": _cropped,
    "left and right swapped": _flipped,
}
