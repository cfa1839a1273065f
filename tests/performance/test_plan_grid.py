"""Grids from headers: what the pipeline does to voxels, foreseen without any."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import make_affine, make_bundle, make_data
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.inference.preparing import prepare
from deepseg_lite.performance.plan.grid import isotropic_grid, plan_grid
from deepseg_lite.steps.table import PREPROCESSING
from deepseg_lite.volume import Volume
from deepseg_lite.workflows.spine.grids import to_canonical, to_isotropic

NONE = {"step": "normalize", "channels": [{"scheme": "none"}]}
SPLINE = {"order": 1, "separate_axis": "auto", "separate_order": 0}
SAMPLING = {"method": "linear", "order": 1, "padding": "border", "align_corners": False}
PAD = {"at_end": False, "mode": "edge", "value": 0.0}
STEPS = {
    "nnU-Net": [
        {"step": "crop_to_nonzero"},
        NONE,
        {"step": "resample", "spacing": [1.5, None, 0.9], "image": SPLINE, "scores": SPLINE},
    ],
    "padded": [
        {"step": "reorient", "orientation": "RAS"},
        {"step": "pad_to_shape", "shape": [24, None, 30], **PAD},
        {"step": "pad_to_multiple", "of": [16, 8, 4], **PAD},
    ],
    "cut": [
        {"step": "pad_or_crop", "shape": [9, 40, None], **PAD},
        {"step": "multiply", "by": 2.0},
        {"step": "center_crop", "size": [None, 30, 7]},
    ],
    "respaced": [
        {
            **{"step": "respace", "spacing": [1.0, None, 0.8], "diagonal": False},
            **{"image": SAMPLING, "scores": SAMPLING},
        }
    ],
    "resized": [
        {"step": "resize", "spacing": [None, 0.5, 1.5]},
        {"step": "field_of_view", "shape": [None, 31, 8], "mode": "symmetric", "value": 0.0},
    ],
    "zoomed": [{"step": "zoom", "spacing": [1.0, 0.6, None]}],
}


def _empty(volume: Volume) -> Volume:
    return Volume(np.empty((0, *volume.shape), np.float32), volume.affine, volume.spacing)


def test_every_step_is_known_by_what_it_does_to_the_grid():
    rows = PREPROCESSING.items()
    assert all(row.unknown for _, row in rows if row.at_most)
    assert {name for name, row in rows if row.changes != "values" and not row.at_most} == {
        *("resample", "reorient", "respace", "resize", "zoom"),
        *("pad_to_shape", "pad_or_crop", "pad_to_multiple", "center_crop", "field_of_view"),
    }


@pytest.mark.parametrize("steps", STEPS.values(), ids=list(STEPS))
@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 4.0)] * 3),
    orientation=st.sampled_from(["RAS", "LPI", "PSR", "IAL"]),
)
def test_the_grid_is_the_one_that_voxels_are_brought_to(steps, shape, spacing, orientation):
    bundle = make_bundle(preprocessing=steps)
    affine = make_affine(orientation, spacing)
    volume = Volume.from_array(np.ones(shape, np.float32), affine)
    assert plan_grid(_empty(volume), bundle).shapes[-1] == prepare(volume, bundle)[0].shape


@pytest.mark.parametrize(
    "step",
    [
        {"step": "crop_to_nonzero"},
        {
            **{"step": "crop_to_foreground", "channels": None, "above": 0.5},
            **{"margin": [2, 0, 1], "inside": False, "multiple": [16, 1, 5]},
            **{"mode": "constant", "value": 0.0},
        },
        {
            **{"step": "crop_to_foreground", "channels": None, "above": 0.9},
            **{"margin": [3, 3, 3], "inside": True, "multiple": [1, 1, 1]},
            **{"mode": "constant", "value": 0.0},
        },
    ],
    ids=["nonzero", "foreground", "foreground inside"],
)
def test_where_voxels_decide_the_plan_is_the_most_there_can_be(step):
    bundle = make_bundle(preprocessing=[step])
    for data in (make_data(), np.ones((20, 18, 12), np.float32)):
        volume = Volume.from_array(data, make_affine("LPS"))
        plan = plan_grid(_empty(volume), bundle)
        assert plan.unknown == (PREPROCESSING[step["step"]].unknown,)
        assert np.all(np.array(plan.shapes[-1]) >= prepare(volume, bundle)[0].shape)


@pytest.mark.parametrize(
    "step",
    [
        {"step": "crop_to_prior", "safety_factor": [1.5, 1.0, 1.2]},
        {"step": "crop_around_prior", "margin_mm": [3, None, 2]},
    ],
    ids=lambda step: step["step"],
)
def test_a_crop_to_a_prior_is_planned_for_a_prior_that_fills_the_image(step):
    window = {
        **{"patch_size": [8, 8, 8], "stride": [4, 8, 3], "placement": "clamped_stride"},
        "importance_map": "constant",
    }
    prior = {"bundle": "first", "channels": ["t2"]}
    bundle = make_bundle(preprocessing=[step], sliding_window=window, prior=prior)
    volume = Volume.from_array(make_data(), make_affine("LAS"))
    found, _ = prepare(volume, bundle, np.ones(volume.shape, np.uint8))
    planned = plan_grid(_empty(volume), bundle)
    assert planned.unknown == ("what the first model finds",)
    assert np.all(np.array(planned.shapes[-1]) >= found.shape)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 30)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 4.0)] * 3),
    orientation=st.sampled_from(["RAS", "LPI", "PSR"]),
)
def test_the_grid_of_the_spine_is_the_one_it_is_resampled_to(shape, spacing, orientation):
    affine = make_affine(orientation, spacing)
    found, _ = to_isotropic(*to_canonical(np.ones(shape, np.uint8), affine))
    assert isotropic_grid(shape, affine).shape == found.shape
