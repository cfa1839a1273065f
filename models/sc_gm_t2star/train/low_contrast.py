"""The low-contrast set: scans of the challenge as a site with faint fluid would have made them.

Fluid around the cord is pulled to the cord's signal until it is hardly brighter, the plane is
blurred, slices become 5 mm thick and pixels 0.5 mm, and there is noise. Every number is drawn from
the scan's own seed, so the set is the same everywhere; see ``make_low_contrast``.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import numpy.typing as npt
from distortions import Array, Case
from scipy import ndimage

SEED = 22
PIXEL_MM, SLICE_MM = 0.5, 5.0
FLUID_MM, FADE_MM = 3.5, 2.5  # fluid reaches so far from the cord; the change ends beyond that
LEFT_OVER = (0.05, 0.2)  # share of the fluid's contrast that stays
BLUR_MM = (0.3, 0.5)  # standard deviation in plane
NOISE = (0.02, 0.05)  # of the cord's signal


def make_low_contrast(image: nib.Nifti1Image, cord: Array, gray: Array, number: int) -> Case:
    """Make the case of low contrast of a scan.

    Parameters
    ----------
    image : Nifti1Image
        Axial scan, slices along the last axis, cord darker than fluid.
    cord, gray : ndarray
        Its masks.
    number : int
        Of the scan, for its seed.

    Returns
    -------
    image, cord, gray
        On a grid of 0.5 x 0.5 x 5 mm; a voxel is marked where at least half of it is.
    """
    rng = np.random.default_rng((SEED, number))
    left_over, blur, noise = (rng.uniform(*limits) for limits in (LEFT_OVER, BLUR_MM, NOISE))
    spacing = np.array(image.header.get_zooms()[:3], float)
    signal = np.asarray(image.dataobj, np.float64)
    for z in np.flatnonzero(cord.any(axis=(0, 1))):
        signal[..., z] = _fade(signal[..., z], cord[..., z], spacing[:2], left_over)
    signal = ndimage.gaussian_filter(signal, (*(blur / spacing[:2]), 0))
    level = signal[cord].mean()
    steps = np.array((PIXEL_MM, PIXEL_MM, SLICE_MM)) / spacing
    volumes = [_regrid(volume, steps) for volume in (signal, cord, gray)]
    real, imaginary = noise * level * rng.standard_normal((2, *volumes[0].shape))
    affine = image.affine @ np.diag((*steps, 1))
    affine[:3, 3] += image.affine[:3, :3] @ ((steps - 1) / 2)
    faint = nib.Nifti1Image(np.hypot(volumes[0] + real, imaginary).astype(np.float32), affine)
    return faint, volumes[1] >= 0.5, volumes[2] >= 0.5


def _fade(
    plane: npt.NDArray[np.float64], cord: Array, spacing: npt.NDArray[np.float64], left_over: float
) -> npt.NDArray[np.float64]:
    """Pull what is brighter than the cord, in its canal, towards the cord's median."""
    level = np.median(plane[cord])
    away = ndimage.distance_transform_edt(~cord, spacing)
    share = np.clip((FLUID_MM + FADE_MM - away) / FADE_MM, 0, 1) * ~cord
    return plane - share * (1 - left_over) * np.maximum(plane - level, 0)


def _regrid(volume: Array, steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Interpolate in plane and average along z; steps are new voxel sizes in old ones."""
    thick = _average(np.moveaxis(volume.astype(np.float64), 2, 0), steps[2])
    shape = (len(thick), *(int(n / step) for n, step in zip(volume.shape, steps[:2], strict=False)))
    inner, offset = np.array((1, *steps[:2])), np.array((0, *(steps[:2] - 1) / 2))
    plane = ndimage.affine_transform(thick, inner, offset, shape, order=1, mode="nearest")
    return np.moveaxis(np.asarray(plane), 0, 2)


def _average(values: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """Average along the first axis over intervals of another length; the last is a whole one."""
    edges = np.arange(int(len(values) / step + 1e-6) + 1) * step
    summed = np.concatenate([np.zeros((1, *values.shape[1:])), values.cumsum(axis=0)])
    whole = np.minimum(edges.astype(int), len(values) - 1)
    upto = summed[whole] + (edges - whole)[:, None, None] * values[whole]
    return (upto[1:] - upto[:-1]) / step
