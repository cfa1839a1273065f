"""Resampling against nnunetv2's two functions, on random grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.steps.interpolation import Interpolation, plan_resampling, separate_axis
from deepseg_lite.steps.resample import resample
from deepseg_lite.volume import Volume

pytest.importorskip("nnunetv2", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

SHAPE = st.tuples(*[st.integers(1, 19)] * 3)
SPACING = st.tuples(*[st.sampled_from([0.3, 0.5, 0.5859375, 0.8, 1.0, 1.7, 2.5, 3.0, 5.0])] * 3)
FORCE = {"auto": None, "always": True, "never": False}


def apply_plan(data, new_shape, spacing, new_spacing, interpolation):
    plan = plan_resampling(data.shape[1:], new_shape, spacing, new_spacing, interpolation)
    if plan is None:
        return data
    return np.stack(
        [plan.apply(channel, slice(0, new_shape[0]), plan.bounds(channel)) for channel in data]
    )


@settings(max_examples=150, deadline=None)
@given(
    shape=SHAPE,
    new_shape=SHAPE,
    spacing=SPACING,
    new_spacing=SPACING,
    order=st.integers(0, 5),
    order_z=st.sampled_from([0, 1, 3]),
    mode=st.sampled_from(["auto", "always", "never"]),
    seed=st.integers(0, 2**16),
)
def test_equals_resample_data_or_seg_to_shape(
    shape, new_shape, spacing, new_spacing, order, order_z, mode, seed
):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    data = np.random.default_rng(seed).normal(size=(2, *shape))
    expected = resample_data_or_seg_to_shape(
        data,
        new_shape,
        spacing,
        new_spacing,
        order=order,
        order_z=order_z,
        force_separate_z=FORCE[mode],
    )
    found = apply_plan(data, new_shape, spacing, new_spacing, Interpolation(order, mode, order_z))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPE, new_shape=SHAPE, spacing=SPACING, new_spacing=SPACING, seed=st.integers(0, 2**16)
)
def test_linear_equals_resample_torch_fornnunet(shape, new_shape, spacing, new_spacing, seed):
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    data = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    expected = resample_torch_fornnunet(data, new_shape, spacing, new_spacing)
    found = apply_plan(data, new_shape, spacing, new_spacing, Interpolation(1, "auto", 0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@settings(max_examples=200, deadline=None)
@given(spacing=SPACING, new_spacing=SPACING, mode=st.sampled_from(["auto", "always", "never"]))
def test_separate_axis_equals_determine_do_sep_z_and_axis(spacing, new_spacing, mode):
    from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

    separate, axis = determine_do_sep_z_and_axis(FORCE[mode], spacing, new_spacing)
    assert separate_axis(mode, spacing, new_spacing) == (axis if separate else None)


@settings(max_examples=100, deadline=None)
@given(shape=SHAPE, spacing=SPACING, new_spacing=SPACING)
def test_shape_equals_compute_new_shape(shape, spacing, new_spacing):
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

    volume = Volume(np.zeros((1, *shape), np.float32), np.diag([*spacing, 1.0]), spacing)
    linear = Interpolation(1, "never", 0)
    resampled, _ = resample(volume, new_spacing, linear, linear)
    expected = compute_new_shape(shape, spacing, new_spacing)
    assert resampled.shape == tuple(np.maximum(expected, 1))  # upstream fails on empty axes


@pytest.mark.parametrize("order", [1, 3])
def test_large_grids_agree_to_float32(order):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    data = np.random.default_rng(7).normal(size=(1, 31, 190, 170)).astype(np.float32)
    spacings = (0.9, 0.7, 0.7), (0.8, 0.5, 0.6)
    volume = Volume(data, np.diag([*spacings[0], 1.0]), spacings[0])
    found, _ = resample(volume, spacings[1], *[Interpolation(order, "auto", 0)] * 2)
    expected = resample_data_or_seg_to_shape(
        data, found.shape, *spacings, order=order, force_separate_z=None
    )
    np.testing.assert_allclose(found.data, expected, rtol=0, atol=1e-6)
