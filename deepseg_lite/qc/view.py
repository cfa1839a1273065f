"""View: an image and its results as a rater looks at them, superior slices first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import scipy
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from deepseg_lite.qc.cutout import Cutout
from deepseg_lite.volume import Affine, AnyArray, Slices, Spacing

ORIENTATION = "IPR"
"""Axes of a view: slices to inferior, rows to posterior, columns to the right of the patient."""
FOREGROUND = 0.5
"""Probability above which a voxel is shown."""


@dataclass(frozen=True, eq=False)
class Shown:
    """File of results.

    Attributes
    ----------
    data : array of shape (X, Y, Z)
        Labels, or probabilities.
    structures : mapping of str to sequence of int
        Values of each structure; 1 of a mask and of probabilities.
    """

    data: AnyArray
    structures: Mapping[str, Sequence[int]]


@dataclass(frozen=True, eq=False)
class Structure:
    """Structure of a result that has voxels.

    Attributes
    ----------
    name : str
        Its label.
    number : int
        Its value in `View.labels`.
    value : int
        Its value in the file; of several the first.
    mm3 : float
        Volume of all its voxels.
    part : Cutout
        All its voxels, also those that another structure hides in `View.labels`.
    """

    name: str
    number: int
    value: int
    mm3: float
    part: Cutout


@dataclass(frozen=True, eq=False)
class View:
    """Image and results, on axes of `ORIENTATION`.

    Attributes
    ----------
    channels : tuple of arrays of shape (S, A, L)
        Intensities.
    labels : array of shape (S, A, L)
        Number of the structure; where several lie over each other, of the smallest.
    structures : tuple of Structure
        In the order of the files and of their labels.
    missing : mapping of str to int
        Structures without a voxel, with the value that they would have.
    spacing : tuple of 3 floats
        Voxel size in mm.
    focus : array of shape (S, A, L)
        What pictures are centred on: the labels, or another mask.
    slices : sequence of int
        For each slice its index in the image as it is stored.
    voxel_mm3 : float
        Volume of a voxel.
    """

    channels: tuple[AnyArray, ...]
    labels: AnyArray
    structures: tuple[Structure, ...]
    missing: Mapping[str, int]
    spacing: Spacing
    focus: AnyArray
    slices: Sequence[int]
    voxel_mm3: float


def make_view(
    channels: Sequence[AnyArray],
    files: Sequence[Shown],
    affine: Affine,
    voxel_mm3: float,
    focus: AnyArray | None = None,
) -> View:
    """Bring images and results to the axes of a view; nothing is copied but labels.

    Parameters
    ----------
    channels : sequence of arrays of shape (X, Y, Z) or (X, Y, Z, T)
        Voxels of the images; a time series is averaged.
    files : sequence of Shown
        The results.
    affine : array of shape (4, 4)
        Of the grid of all of them.
    voxel_mm3 : float
        Volume of a voxel.
    focus : array of shape (X, Y, Z), optional
        Mask that pictures are centred on in place of the results.
    """
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(ORIENTATION))
    turned = [apply_orientation(_still(array), turn) for array in channels]
    structures, missing = _structures(files, turn, voxel_mm3)
    labels = np.zeros(turned[0].shape, np.uint8 if len(structures) < 256 else np.uint16)
    for each in sorted(structures, key=lambda each: -each.mm3):
        labels[each.part.box][each.part.mask] = each.number
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axes = [int(axis) for axis in np.argsort(turn[:, 0])]
    count = len(labels)
    slices = range(count) if turn[axes[0], 1] > 0 else range(count - 1, -1, -1)
    s, a, side = (float(sizes[axis]) for axis in axes)
    return View(
        channels=tuple(turned),
        labels=labels,
        structures=tuple(structures),
        missing=missing,
        spacing=(s, a, side),
        focus=labels if focus is None else apply_orientation(focus, turn),
        slices=slices,
        voxel_mm3=voxel_mm3,
    )


def _still(array: AnyArray) -> AnyArray:
    still: AnyArray = array.mean(axis=3) if array.ndim == 4 else array
    return still


def _structures(
    files: Sequence[Shown], turn: AnyArray, voxel_mm3: float
) -> tuple[list[Structure], dict[str, int]]:
    """Return the structures that have voxels, and the values of those that have none."""
    found: list[Structure] = []
    missing: dict[str, int] = {}
    for file in files:
        data = file.data > FOREGROUND if file.data.dtype.kind == "f" else file.data
        data = apply_orientation(data, turn)
        last = max(chain((1,), *file.structures.values()))  # a mask by hand has any numbers
        boxes = scipy.ndimage.find_objects(
            data.view(np.uint8) if data.dtype == bool else data, last
        )
        for name, values in file.structures.items():
            there = [v for v in values if 0 < v <= len(boxes) and boxes[v - 1] is not None]
            if not there:
                missing[name] = values[0]
                continue
            box = _around([boxes[value - 1] for value in there])
            inside = data[box]
            mask = inside == there[0] if len(there) == 1 else np.isin(inside, there)
            mm3 = round(float(np.count_nonzero(mask)) * voxel_mm3, 2)
            part = Cutout(mask, box, data.shape)
            found.append(Structure(name, len(found) + 1, values[0], mm3, part))
    return found, missing


def _around(boxes: Sequence[Slices]) -> Slices:
    """Return the box around several."""
    return tuple(
        slice(min(part.start for part in axis), max(part.stop for part in axis))
        for axis in zip(*boxes, strict=True)
    )
