"""Geometry of images: from headers to affines in mm, the one place that believes them or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import SpatialImage

from deepseg_lite.errors import ImageError
from deepseg_lite.nifti.checks import check_affine
from deepseg_lite.notice import Notice
from deepseg_lite.volume import Affine, Spacing

PLAUSIBLE_MM = (0.01, 25.0)
"""Voxel sizes that an image of a spine or a spinal cord can have, of any species."""
_UNITS = {1: ("metre", 1000.0), 2: ("mm", 1.0), 3: ("micrometre", 0.001)}
_SHEAR = 1e-3
"""Share of a voxel's volume from which on an affine counts as sheared."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Place of an image's voxels.

    Attributes
    ----------
    affine : array of shape (4, 4)
        Voxel indices to mm.
    spacing : tuple of 3 floats
        Voxel size in mm: the header's own numbers where they agree with the affine. They differ in
        the last digits, which can decide how a shape is rounded; the original software takes the
        header's.
    notices : tuple of Notice
        What was assumed, and what is doubtful.
    """

    affine: Affine
    spacing: Spacing
    notices: tuple[Notice, ...] = ()


def read_geometry(image: SpatialImage, name: str) -> Geometry:
    """Return where an image's voxels are, in mm.

    Raises
    ------
    ImageError
        If its affine cannot be inverted.
    """
    check_affine(image.affine, name)
    raw = np.asarray(image.affine, np.float64)
    sizes = np.array(image.header.get_zooms()[:3], np.float64)
    notices: list[Notice] = []

    def notice(code: str, text: str, **figures: Any) -> None:
        notices.append(Notice(code, text, name, figures))

    factor = 1.0
    if isinstance(image, nib.Nifti1Pair):
        header = image.header
        factor = _unit(int(header["xyzt_units"]) & 7, raw, notice)
        codes = int(header["qform_code"]), int(header["sform_code"])
        if codes == (0, 0):
            axes = "".join(aff2axcodes(raw))
            text = f"it has neither qform nor sform: axes to {axes} were assumed. Check the sides."
            notice("no-orientation", text, orientation=axes)
        if all(codes):
            _compare_forms(header.get_qform(), raw, image.shape, factor, notice)
    affine = raw.copy()
    affine[:3] *= factor
    from_affine = voxel_sizes(affine)
    if np.allclose(sizes * factor, from_affine, rtol=1e-3):
        found = sizes * factor
    else:
        found = from_affine
        text = f"pixdim says {_said(sizes * factor)} mm, the affine {_said(found)}, which is used."
        notice("voxel-size", text, pixdim=(sizes * factor).tolist(), used=found.tolist())
    volume = abs(float(np.linalg.det(affine[:3, :3])))
    if volume < (1 - _SHEAR) * float(np.prod(from_affine)):
        share = 1 - volume / float(np.prod(from_affine))
        text = (
            f"its axes are not at right angles (sheared; a voxel has {share:.1%} less than its "
            "sides say); volumes are right, distances between voxels are not."
        )
        notice("sheared", text, share=share)
    low, high = PLAUSIBLE_MM
    if found.min() < low or found.max() > high:
        text = (
            f"a voxel of {_said(found)} mm is beyond what scanners give ({low} to {high} mm): the "
            "unit or the header may be wrong. Check the voxel size and the result."
        )
        notice("voxel-size", text, spacing=found.tolist())
    x, y, z = (float(size) for size in found)
    return Geometry(affine, (x, y, z), tuple(notices))


def _unit(code: int, affine: Affine, notice: Any) -> float:
    """Return what a header's numbers are to be multiplied by to be mm."""
    name, factor = _UNITS.get(code, ("mm", 1.0))
    if factor == 1.0:
        return factor
    sizes = voxel_sizes(affine)
    low, high = PLAUSIBLE_MM
    if low <= (sizes * factor).min() and (sizes * factor).max() <= high:
        notice("unit", f"its unit is {name}; it was converted to mm.", unit=name)
        return factor
    text = f"its unit is {name}, but a voxel of {_said(sizes)} fits mm alone, which was assumed."
    notice("unit", text, unit=name, voxel=sizes.tolist())
    return 1.0


def _compare_forms(
    qform: Affine, sform: Affine, shape: Sequence[int], factor: float, notice: Any
) -> None:
    distance = displacement(qform, sform, shape) * factor
    if distance <= tolerance(sform) * factor:
        return
    mirrored = np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0
    sides = ", and they differ in which side is left" if mirrored else ""
    text = f"qform and sform differ by up to {distance:.3g} mm{sides}; the sform was believed."
    notice("forms-differ", text, displacement_mm=distance, mirrored=bool(mirrored))


def displacement(one: Affine, other: Affine, shape: Sequence[int]) -> float:
    """Return how far apart two affines put a voxel at most, in their unit."""
    x, y, z = (int(size) - 1 for size in shape[:3])
    corners = [(i, j, k) for i in (0, x) for j in (0, y) for k in (0, z)]
    moved = apply_affine(one, corners) - apply_affine(other, corners)
    return float(np.linalg.norm(moved, axis=1).max())


def tolerance(affine: Affine) -> float:
    """Return from which displacement on two grids are two: a tenth of the smallest side."""
    return 0.1 * float(voxel_sizes(affine).min())


def check_same_grid(
    one: Geometry,
    shape: Sequence[int],
    name: str,
    first: Geometry,
    expected: Sequence[int],
    to: str,
) -> None:
    """Refuse a channel that lies on another grid than the first.

    Raises
    ------
    ImageError
        By how much they differ.
    """
    axes, wanted = ("".join(aff2axcodes(each.affine)) for each in (one, first))
    if axes != wanted:
        raise ImageError(
            f"{name} is stored in another order of axes than {to} ({axes}, {wanted}); all channels "
            f"must be stored alike. Reorient it to {wanted}."
        )
    if tuple(shape) != tuple(expected):
        raise ImageError(
            f"{name} has shape {tuple(shape)} and {to} has {tuple(expected)}; all channels must be "
            "on one grid. Resample one to the other."
        )
    distance = displacement(one.affine, first.affine, shape)
    if distance > tolerance(first.affine):
        raise ImageError(
            f"{name} and {to} lie differently in space (by up to {distance:.3g} mm); all channels "
            "must be on one grid. Register or resample one to the other."
        )


def _said(sizes: Any) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)
