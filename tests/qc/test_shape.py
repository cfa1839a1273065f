"""Shapes of slices: known ellipses, and SCT's formulas on real cords."""

from __future__ import annotations

import math

import numpy as np
import pytest
from campaigns.verdicts import good_masks
from helpers.paths import SHARED
from helpers.views import cord

from deepseg_lite.qc.cutout import Cutout
from deepseg_lite.qc.shape import HEADS, rows_of, slice_shapes


def ellipse(shape: tuple[int, int], radii: tuple[float, float], degrees: float = 0) -> np.ndarray:
    """Return an ellipse in one slice, its first radius along rows before it is turned."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    y, x = y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2
    angle = math.radians(degrees)
    along, across = (
        y * math.cos(angle) - x * math.sin(angle),
        y * math.sin(angle) + x * math.cos(angle),
    )
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


def test_an_ellipse_has_its_axes():
    mask = np.repeat(ellipse((120, 160), (24.0, 40.0))[None], 5, axis=0)
    found = slice_shapes(Cutout.of(mask), (3.0, 0.25, 0.25))
    assert [each.slice for each in found] == list(range(5))
    for each in found:
        assert each.area == pytest.approx(math.pi * 24 * 40 / 16, rel=0.005)
        assert each.diameter_ap == pytest.approx(12.0, rel=0.005)
        assert each.diameter_rl == pytest.approx(20.0, rel=0.005)
        assert each.eccentricity == pytest.approx(0.8, abs=0.005)
        assert each.orientation == pytest.approx(0, abs=0.5)
        assert each.solidity == pytest.approx(1, abs=0.03)
        assert (each.angle_ap, each.angle_rl, each.length) == pytest.approx((0, 0, 3.0))


@pytest.mark.parametrize("degrees", [20.0, -30.0, 70.0])
def test_an_ellipse_that_is_turned_keeps_its_axes(degrees):
    mask = ellipse((160, 160), (24.0, 40.0), degrees)[None]
    (found,) = slice_shapes(Cutout.of(mask), (1.0, 0.25, 0.25))
    assert found.orientation == pytest.approx(abs(degrees), abs=1)
    short, long = found.diameter_ap, found.diameter_rl
    assert sorted((short, long)) == pytest.approx([12.0, 20.0], rel=0.005)
    assert (short < long) == (abs(degrees) < 45)


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.7])
def test_a_tube_that_leans_has_the_area_across_it(slope):
    size, spacing = 160, (2.0, 0.25, 0.25)
    y, x = np.ogrid[:size, :size]
    mask = np.zeros((20, size, size), bool)
    for index in range(20):
        middle = size / 2 + (index - 10) * slope * spacing[0] / spacing[2]
        radius = 12 * math.sqrt(1 + slope**2)  # what a plane cuts of a tube of radius 12
        mask[index] = ((y - size / 2) / 12) ** 2 + ((x - middle) / radius) ** 2 <= 1
    found = slice_shapes(Cutout.of(mask), spacing)[5:-5]
    for each in found:
        assert each.angle_ap == pytest.approx(math.degrees(math.atan(slope)), abs=0.5)
        assert each.area == pytest.approx(math.pi * 9, rel=0.03)
        assert each.diameter_rl == pytest.approx(6, rel=0.03)
        assert each.length == pytest.approx(2 * math.sqrt(1 + slope**2), rel=0.01)


def test_a_notch_is_less_solid_and_one_voxel_is_enough():
    mask = cord((1, 40, 40), 10.0) > 0
    mask[0, 20:, 18:22] = False
    (found,) = slice_shapes(Cutout.of(mask), (1.0, 1.0, 1.0))
    assert 0.7 < found.solidity < 0.95
    mask[:] = False
    mask[0, 3, 4] = True
    (found,) = slice_shapes(Cutout.of(mask), (1.0, 0.5, 2.0))
    assert (found.area, found.solidity) == pytest.approx((1.0, 1.0))
    assert slice_shapes(Cutout.of(mask & False), (1.0, 1.0, 1.0)) == []


def test_rows_go_from_inferior_to_superior_with_the_numbers_of_the_file():
    shapes = slice_shapes(Cutout.of(cord((3, 40, 40)) > 0), (1.0, 1.0, 1.0))
    rows = rows_of("a.nii.gz", "task", "sc", shapes, range(2, -1, -1))
    assert [row[3] for row in rows] == ["0", "1", "2"]
    assert {len(row) for row in rows} == {len(HEADS)}


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
@pytest.mark.parity
def test_real_cords_have_the_shapes_that_scts_formulas_give():
    """SCT's ``_properties2d``: regionprops of the slice drawn five times finer."""
    measure = pytest.importorskip("skimage.measure")
    transform = pytest.importorskip("skimage.transform")
    compared = 0
    for mask in good_masks():
        if "sc" not in mask.structures or mask.name.startswith("tube"):
            continue
        if mask.spacing[1] != pytest.approx(mask.spacing[2]):
            continue
        for index in np.flatnonzero(mask.labels.any(axis=(1, 2)))[::3]:
            plane = np.pad(mask.labels[index] > 0, 3).astype(float)
            (ours,) = slice_shapes(Cutout.of(plane[None] > 0), mask.spacing)  # one slice: no lean
            fine = transform.pyramid_expand(plane, upscale=5, sigma=None, order=1)
            (region, *others) = measure.regionprops((fine > 0.5).astype(np.uint8))
            if others:
                continue
            pixel = mask.spacing[1] / 5
            axes = (region.axis_minor_length * pixel, region.axis_major_length * pixel)
            area = fine.sum() * pixel**2
            assert ours.area == pytest.approx(area, rel=0.04)
            assert sorted((ours.diameter_ap, ours.diameter_rl)) == pytest.approx(
                axes, rel=0.04, abs=0.5 * mask.spacing[1]
            )
            assert ours.eccentricity == pytest.approx(region.eccentricity, abs=0.1)
            compared += 1
    assert compared > 50
