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
    there = np.flatnonzero(part.mask.any(axis=(1, 2)))
    if not len(there):
        return []
    points = [np.argwhere(part.mask[index]) * spacing[1:] for index in there]
    leans = _directions(there * spacing[0], np.array([each.mean(axis=0) for each in points]))
    return [
        _shape(part.corner[0] + int(index), each, lean, spacing)
        for index, each, lean in zip(there, points, leans, strict=True)
    ]


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


def _shape(index: int, points: AnyArray, lean: AnyArray, spacing: Spacing) -> SliceShape:
    """Measure one slice; points are its voxels in mm, to posterior and to the right."""
    about_rl, about_ap = (float(np.arctan(slope)) for slope in lean)
    shrink = np.cos([about_rl, about_ap])
    pixel = np.array(spacing[1:]) * shrink
    points = points * shrink
    area = float(len(points) * pixel.prod())
    offsets = points - points.mean(axis=0)
    moments = offsets.T @ offsets / len(points) + np.diag(pixel**2) / 12
    sizes, axes = np.linalg.eigh(moments)
    minor, major = (float(4 * np.sqrt(max(size, 0.0))) for size in sizes)
    orientation = float(np.degrees(np.arctan2(abs(axes[0, 1]), abs(axes[1, 1]))))
    flat = orientation < 45
    return SliceShape(
        index,
        area,
        float(np.degrees(about_ap)),
        float(np.degrees(about_rl)),
        minor if flat else major,
        major if flat else minor,
        float(np.sqrt(max(1 - (minor / major) ** 2, 0.0))) if major else 0.0,
        orientation,
        area / _hull_area(points, pixel),
        spacing[0] / float(shrink.prod()),
    )


def _hull_area(points: AnyArray, pixel: AnyArray) -> float:
    """Return the area of the convex hull of voxels, with all of their corners.

    Points are sorted by rows, as `numpy.argwhere` gives them: the ends of rows are enough.
    """
    rows, columns = points.T
    starts = np.flatnonzero(np.diff(rows, prepend=-np.inf))
    ends = np.append(starts[1:], len(rows)) - 1
    heights = np.stack([rows[starts] - pixel[0] / 2, rows[starts] + pixel[0] / 2], 1).ravel()
    lowest = np.repeat(columns[starts] - pixel[1] / 2, 2)
    highest = np.repeat(columns[ends] + pixel[1] / 2, 2)
    return _area_below(heights, highest) + _area_below(heights, -lowest)


def _area_below(heights: AnyArray, edge: AnyArray) -> float:
    """Return the area between an axis and the upper hull of an edge above it (monotone chain)."""
    chain: list[tuple[float, float]] = []
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
