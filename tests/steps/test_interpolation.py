"""Resampling by matrices: what every interpolation must keep."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps.interpolation import (
    Interpolation,
    axis_matrix,
    plan_resampling,
    separate_axis,
)

SIZES = [(7, 12), (12, 7), (10, 10), (1, 4), (4, 1), (1, 1), (2, 5)]
ORDERS = [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("size", "new_size"), SIZES, ids=str)
def test_rows_of_a_matrix_sum_to_one(size, new_size, order):
    matrix = axis_matrix(size, new_size, order)
    assert matrix.shape == (new_size, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_same_size_is_the_identity(order):
    np.testing.assert_allclose(axis_matrix(6, 6, order), np.eye(6), atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("size", "new_size"), [(40, 61), (40, 27)], ids=["finer", "coarser"])
def test_linear_ramp_is_exact_in_the_interior(size, new_size, order):
    centres = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    found = axis_matrix(size, new_size, order) @ np.arange(float(size))
    inside = (centres > 14) & (centres < size - 15)  # a spline's edge effect decays slowly
    assert inside.sum() > 5
    np.testing.assert_allclose(found[inside], centres[inside], atol=1e-4)


@pytest.mark.parametrize(
    ("size", "new_size", "picked"),
    [(4, 2, [1, 3]), (3, 6, [0, 0, 1, 1, 2, 2]), (5, 3, [0, 2, 4]), (1, 3, [0, 0, 0])],
    ids=["halved", "doubled", "coarser", "single"],
)
def test_order_zero_picks_the_nearest_voxel(size, new_size, picked):
    np.testing.assert_array_equal(axis_matrix(size, new_size, 0).argmax(axis=1), picked)


def _resampled(array, new_shape, spacing, new_spacing, interpolation):
    plan = plan_resampling(array.shape, new_shape, spacing, new_spacing, interpolation)
    return plan.apply(array, slice(0, new_shape[0]), plan.bounds(array))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", ["never", "auto", "always"])
def test_a_constant_stays_constant(order, mode):
    found = _resampled(
        np.full((6, 5, 4), 3.5),
        (9, 4, 7),
        (1, 1, 4),
        (0.7, 1.2, 2.3),
        Interpolation(order, mode, 0),
    )
    np.testing.assert_allclose(found, np.full((9, 4, 7), 3.5), rtol=1e-9)


def test_overshoot_of_a_cubic_spline_is_clipped_to_the_range():
    step = np.zeros((10, 2, 2))
    step[5:] = 1
    unclipped = axis_matrix(10, 23, 3) @ step[:, 0, 0]
    assert unclipped.min() < 0
    assert unclipped.max() > 1
    found = _resampled(step, (23, 2, 2), (1, 1, 1), (0.4, 1, 1), Interpolation(3, "never", 0))
    np.testing.assert_allclose(found[:, 0, 0], np.clip(unclipped, 0, 1), atol=1e-12)


def test_a_separate_axis_is_clipped_slice_by_slice():
    data = np.zeros((10, 3, 2))
    data[5:, :, 0] = 1
    data[5:, :, 1] = 10
    spacing, target = (1, 1, 5), (0.4, 1, 5)
    found = _resampled(data, (23, 3, 2), spacing, target, Interpolation(3, "auto", 0))
    assert found[..., 0].max() == 1
    assert found[..., 1].max() == 10


def test_no_plan_where_the_grid_stays():
    assert plan_resampling((3, 4, 5), (3, 4, 5), (1, 1, 1), (1, 1, 1.1), LINEAR) is None


def test_a_plan_multiplies_only_the_axes_that_change():
    plan = plan_resampling((3, 4, 5), (3, 8, 5), (1, 1, 1), (1, 0.5, 1), LINEAR)
    assert [matrix is None for matrix in plan.matrices] == [True, False, True]


LINEAR = Interpolation(1, "auto", 0)


@pytest.mark.parametrize(
    ("mode", "spacing", "new_spacing", "axis"),
    [
        ("auto", (1, 1, 1), (1, 1, 1), None),
        ("auto", (1, 1, 3), (1, 1, 3), None),  # exactly 3 times is not above
        ("auto", (1, 1, 3.1), (1, 1, 1), 2),
        ("auto", (3.1, 1, 1), (1, 1, 1), 0),
        ("auto", (1, 1, 1), (1, 5, 1), 1),
        ("auto", (1, 1, 5), (5, 1, 1), 2),  # the old spacing decides before the new
        ("auto", (5, 1, 5), (1, 1, 1), None),  # two low-resolution axes: none is apart
        ("auto", (5, 1, 5), (1, 1, 9), None),
        ("never", (1, 1, 9), (1, 1, 9), None),
        ("always", (1, 1, 1.5), (1, 1, 1), 2),
        ("always", (1, 1, 1), (1, 1, 2), None),
    ],
)
def test_separate_axis_rules(mode, spacing, new_spacing, axis):
    assert separate_axis(mode, spacing, new_spacing) == axis
