"""Shape of a structure in every slice, under the names of ``sct_process_segmentation``.

Areas and diameters are across the structure: a slice that it passes at an angle is foreshortened,
as SCT does it. SCT resamples and draws the slices anew before it measures; here the same follows
from sums over voxels. Source: SCT 7.3, ``process_seg.compute_shape`` and ``_properties2d``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from deepseg_lite.qc.cutout import Cutout
from deepseg_lite.volume import AnyArray, Spacing

SMOOTH_MM = 10.0
"""Standard deviation along the structure over which its direction is averaged."""


@dataclass(frozen=True)
class SliceShape:
    """Shape in one slice.

    Attributes
    ----------
    slice : int
        Index in the view.
    area : float
        mm2.
    angle_ap, angle_rl : float
        Degrees by which the structure leans to the side (about the axis from anterior to
        posterior), and forwards or backwards.
    diameter_ap, diameter_rl : float
        Axes of the ellipse with the same second moments, mm.
    eccentricity : float
        Of that ellipse.
    orientation : float
        Angle of its long axis to the axis from right to left, 0 to 90 degrees.
    solidity : float
        Area as a share of the convex hull's.
    length : float
        Of the structure from this slice to the next, mm.
    """

    slice: int
    area: float
    angle_ap: float
    angle_rl: float
    diameter_ap: float
    diameter_rl: float
    eccentricity: float
    orientation: float
    solidity: float
    length: float


def slice_shapes(part: Cutout, spacing: Spacing) -> list[SliceShape]:
    """Measure a structure in every slice that has it.

    Parameters
    ----------
    part : Cutout
        On the axes of a view.
    spacing : tuple of 3 floats
        Voxel size in mm.
    """
    by_row = part.mask.sum(axis=2)
    there = np.flatnonzero(by_row.any(axis=1))
    if not len(there):
        return []
    planes, by_row = part.mask[there], by_row[there].astype(float)
    counts = by_row.sum(axis=1)
    centres, moments = _moments(planes, by_row, counts)
    leans = np.arctan(_directions(there * spacing[0], centres * spacing[1:]))
    shrink = np.cos(leans)
    pixels = np.array(spacing[1:]) * shrink
    moments *= pixels[:, :, None] * pixels[:, None, :]
    sizes, axes = np.linalg.eigh(moments)
    minor, major = 4 * np.sqrt(np.maximum(sizes, 0)).T
    orientation = np.degrees(np.arctan2(np.abs(axes[:, 0, 1]), np.abs(axes[:, 1, 1])))
    is_flat = orientation < 45
    columns = (
        counts * pixels.prod(axis=1),
        *np.degrees(leans[:, ::-1]).T,
        np.where(is_flat, minor, major),
        np.where(is_flat, major, minor),
        np.sqrt(np.maximum(1 - (minor / np.maximum(major, 1e-9)) ** 2, 0)),
        orientation,
        counts / _hull_areas(planes),
        spacing[0] / shrink.prod(axis=1),
    )
    slices = (part.corner[0] + there).tolist()
    return [
        SliceShape(index, *row)
        for index, row in zip(slices, np.stack(columns, axis=1).tolist(), strict=True)
    ]


def _moments(planes: AnyArray, by_row: AnyArray, counts: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return the middle (S, 2) of the voxels of each slice and their second moments (S, 2, 2).

    Both are in voxels; the moments are of voxels that are squares, not points.
    """
    rows, columns = (np.arange(size, dtype=float) for size in planes.shape[1:])
    by_column = planes.sum(axis=1).astype(float)
    centres = np.stack([by_row @ rows, by_column @ columns], axis=1) / counts[:, None]
    mixed = np.stack([plane @ columns for plane in planes]) @ rows
    squares = np.stack([by_row @ rows**2, mixed, mixed, by_column @ columns**2], axis=1)
    moments = squares.reshape(-1, 2, 2) / counts[:, None, None]
    moments -= centres[:, :, None] * centres[:, None, :]
    return centres, moments + np.eye(2) / 12


def _directions(heights: AnyArray, centres: AnyArray) -> AnyArray:
    """Return mm to posterior and to the right for each mm downwards, averaged along the way."""
    if len(heights) < 3:
        return np.zeros_like(centres)
    weights = np.exp(-(((heights[:, None] - heights[None, :]) / SMOOTH_MM) ** 2) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    mean_height, mean_centre = weights @ heights, weights @ centres
    products = weights @ (heights[:, None] * centres) - mean_height[:, None] * mean_centre
    squares = weights @ heights**2 - mean_height**2
    slopes: AnyArray = products / np.maximum(squares, 1e-9)[:, None]
    return slopes


def _hull_areas(planes: AnyArray) -> AnyArray:
    """Return the area in voxels of the convex hull of each slice (S,), corners included."""
    width = planes.shape[2]
    is_row = planes.any(axis=2)
    highest = np.where(is_row, width - planes[:, :, ::-1].argmax(axis=2), -1)
    lowest = np.where(is_row, -planes.argmax(axis=2), -width - 1)
    return _areas_below(highest, -1) + _areas_below(lowest, -width - 1)


def _areas_below(edges: AnyArray, nothing: int) -> AnyArray:
    """Return the area between an axis and the upper hull of each edge (S,) above it.

    Edges (S, R) are of rows; a row without voxels has ``nothing``, the least value.
    """
    corners = np.full((len(edges), edges.shape[1] + 1), nothing)
    corners[:, :-1] = edges
    corners[:, 1:] = np.maximum(corners[:, 1:], edges)
    kept = corners > nothing
    above, inner, below = corners[:, :-2], corners[:, 1:-1], corners[:, 2:]
    is_alone = np.minimum(above, below) == nothing
    kept[:, 1:-1] &= is_alone | (2 * inner > above + below)  # others are never corners of a hull
    rows = [_area_below(np.flatnonzero(k), edge[k]) for k, edge in zip(kept, corners, strict=True)]
    return np.array(rows)


def _area_below(heights: AnyArray, edge: AnyArray) -> float:
    """Return the area between an axis and the upper hull of an edge above it (monotone chain)."""
    chain: list[tuple[int, int]] = []
    for x, y in zip(heights.tolist(), edge.tolist(), strict=True):
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y - y0) < (y1 - y0) * (x - x0):
                break
            chain.pop()
        chain.append((x, y))
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(chain))


HEADS = (
    *("Filename", "Task", "Structure", "Slice (I->S)", "MEAN(area)", "MEAN(angle_AP)"),
    *("MEAN(angle_RL)", "MEAN(diameter_AP)", "MEAN(diameter_RL)", "MEAN(eccentricity)"),
    *("MEAN(orientation)", "MEAN(solidity)", "SUM(length)"),
)


def table_of(rows: Iterable[Sequence[str]]) -> bytes:
    """Return a table of rows of `rows_of`, as TSV."""
    return "".join("\t".join(row) + "\n" for row in (HEADS, *rows)).encode()


def rows_of(
    file: str, task: str, structure: str, shapes: Sequence[SliceShape], slices: Sequence[int]
) -> list[tuple[str, ...]]:
    """Return the rows of a table of shapes, from inferior to superior; see `HEADS`.

    ``slices`` are the numbers of the slices in the image.
    """
    names = [field.name for field in fields(SliceShape)][1:]
    return [
        (
            *(file, task, structure, str(slices[each.slice])),
            *(f"{getattr(each, name):.5g}" for name in names),
        )
        for each in reversed(shapes)
    ]
