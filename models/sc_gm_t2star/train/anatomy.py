"""Shapes of spine, canal, white and gray matter to draw from: PAM50, and masks without images.

A shape is four volumes of shares, 0.5 mm in plane. A slab of it is what a thick slice averages:
several slices, each a little aside, as the cord is hardly ever at a right angle to the slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from images import load_image, pixel_size, slices_of
from numpy.random import Generator
from scipy import ndimage

Plane = npt.NDArray[np.float32]

SHAPE_MM = 0.5
SHAPE_PIXELS = 141  # as PAM50
TEMPLATE_PARTS = ("spine", "csf", "wm", "gm")
CERVICAL, WHOLE_CORD = (690, 960), (120, 970)  # slices of the template
CERVICAL_SHARE = 0.8
MASKS = (
    "sub-9605_run-1",
    "sub-9611Ses1_run-1",
    "sub-9611Ses2_run-1",
    "sub-9611Ses3_run-1",
)
CANAL_MM, SPINE_MM = 3.0, 9.0  # around the cord, where only the cord is known
THICKEST_MM = 6.0
STEEPEST = 0.3  # in-plane shift of the cord per mm along z
MAX_SUMMED = 6  # slices that stand for all of a slab


@dataclass(frozen=True)
class Shape:
    """Shares of spine, canal, white and gray matter.

    Attributes
    ----------
    parts : ndarray
        From 0 to 1, shape (4, Z, Y, X), float32.
    thickness_mm : float
        Distance of the slices.
    usual : tuple of 2 ints
        Most slices are drawn from this range, the others from anywhere.
    """

    parts: npt.NDArray[np.float32]
    thickness_mm: float
    usual: tuple[int, int]


def read_template(data: Path) -> Shape:
    """Read the PAM50 template, as far as it has a cord."""
    volumes = [_volume(data / f"PAM50/PAM50_{part}.nii.gz") for part in TEMPLATE_PARTS]
    first, last = WHOLE_CORD
    usual = (CERVICAL[0] - first, CERVICAL[1] - first)
    return Shape(np.stack(volumes)[:, first:last], SHAPE_MM, usual)


def read_mask_shapes(data: Path) -> list[Shape]:
    """Read the manual masks of 9605 and 9611, whose images are too large to be had."""
    return [_read_mask_shape(data / "gm_challenge/more" / scan) for scan in MASKS]


def draw_slab(shape: Shape, rng: Generator) -> npt.NDArray[np.float32]:
    """Draw what one slice of random thickness shows.

    Parameters
    ----------
    shape : Shape
        Where to draw from.
    rng : Generator
        Source of every choice.

    Returns
    -------
    shares : ndarray
        Of spine, canal, white and gray matter, shape (4, Y, X), float32.
    """
    depth = shape.parts.shape[1]
    first, last = shape.usual if rng.random() < CERVICAL_SHARE else (0, depth)
    middle = int(rng.integers(first, last))
    thickness = rng.uniform(0, THICKEST_MM) if rng.random() < 0.8 else 0.0
    reach = thickness / shape.thickness_mm / 2
    places = np.linspace(-reach, reach, min(MAX_SUMMED, 1 + int(2 * reach)))
    slope = rng.uniform(-STEEPEST, STEEPEST, 2) * shape.thickness_mm / SHAPE_MM
    summed = np.zeros((4, *shape.parts.shape[2:]), np.float32)
    for place in places:
        z = int(np.clip(round(middle + place), 0, depth - 1))
        summed += ndimage.shift(shape.parts[:, z], (0, *(place * slope)), order=1)
    return summed / np.float32(len(places))


def _read_mask_shape(stem: Path) -> Shape:
    """Make a shape of the masks of one scan; canal and spine are ellipses around the cord."""
    masks = [load_image(f"{stem}_T2starw_{kind}-manual") for kind in ("seg", "gmseg")]
    zooms = [size / SHAPE_MM for size in pixel_size(masks[0])]
    cord, gray = (
        np.stack([ndimage.zoom(plane, zooms, order=1) for plane in np.float32(slices_of(mask) > 0)])
        for mask in masks
    )
    planes = [_around(cord[z], gray[z]) for z in range(len(cord)) if cord[z].max() > 0.5]
    thickness = float(masks[0].header.get_zooms()[2])
    return Shape(np.stack(planes, axis=1), thickness, (0, len(planes)))


def _around(cord: Plane, gray: Plane) -> npt.NDArray[np.float32]:
    """Cut out the cord's surroundings and add canal and spine."""
    middle = np.argwhere(cord > 0.5).mean(axis=0).round().astype(int)
    reach = SHAPE_PIXELS // 2
    cord, gray = (
        np.pad(plane, reach)[middle[0] : middle[0] + SHAPE_PIXELS, middle[1] :][:, :SHAPE_PIXELS]
        for plane in (cord, gray)
    )
    distance = ndimage.distance_transform_edt(cord <= 0.5) * SHAPE_MM
    canal, spine = (np.clip(limit - distance + 0.5, 0, 1) for limit in (CANAL_MM, SPINE_MM))
    gray = np.minimum(gray, cord)
    return np.stack((spine, canal, cord - gray, gray)).astype(np.float32)


def _volume(path: Path) -> npt.NDArray[np.float32]:
    """Return a part of the template in the order z, y, x."""
    return np.asarray(nib.load(path).dataobj, np.float32).transpose(2, 1, 0)
