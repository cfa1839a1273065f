"""Windows at a fixed interval and their Gaussian weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepseg_lite.bundles.bundle import SlidingWindow
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.patches import (
    gaussian_importance,
    interval_starts,
    patch_starts,
    plan_windows,
    whole_axes,
)
from deepseg_lite.steps.pad import pad_to_patch


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "starts"),
    [
        (8, 8, 0.5, [0]),
        (9, 8, 0.5, [0, 1]),
        (16, 8, 0.5, [0, 4, 8]),
        (17, 8, 0.5, [0, 4, 8, 9]),
        (16, 8, 0, [0, 8]),
        (20, 8, 0.25, [0, 6, 12]),
        (21, 8, 0.3, [0, 5, 10, 13]),
        (4, 3, 0.9, [0, 1]),
    ],
)
def test_the_interval_is_fixed_and_the_last_window_moves_back(size, patch, overlap, starts):
    assert interval_starts(size, patch, overlap) == starts


def test_a_gaussian_is_even_falls_off_and_ends_at_a_thousandth():
    weights = gaussian_importance((9, 16, 5), (0.125, 0.125, 1.0))
    assert weights.shape == (9, 16, 5)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])
    assert weights.min() == np.float32(0.001)
    middle = weights[4, 8]
    np.testing.assert_allclose(middle / middle[2], np.exp(-(np.arange(-2, 3) ** 2) / 50), rtol=1e-6)


def test_weights_above_a_thousandth_are_left_alone():
    weights = gaussian_importance((4, 4, 4), (0.5, 0.5, 0.5))
    assert weights.min() == pytest.approx(np.exp(-3 * 1.5**2 / 8), rel=1e-6)


def test_a_patch_may_be_as_long_as_the_image():
    assert whole_axes((None, 32, None), (7, 8, 9)) == (7, 32, 9)


@pytest.mark.parametrize(("mode", "outside"), [("constant", [-1, -1]), ("edge", [0, 2])])
def test_small_images_are_padded_around_their_middle(mode, outside):
    data = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    padded, inside = pad_to_patch(data, (6, 1, 1), mode, -1.0)
    assert padded.shape == (1, 6, 1, 1)
    assert padded.ravel()[[0, -1]].tolist() == outside
    np.testing.assert_array_equal(padded[(slice(None), *inside)], data)
    assert inside[0] == slice(1, 4)


def test_large_images_are_left_alone():
    data = np.ones((1, 4, 4, 4), np.float32)
    padded, inside = pad_to_patch(data, (2, 4, 3), "constant", 0.0)
    assert padded is data
    assert inside == (slice(0, 4),) * 3


@pytest.mark.parametrize("step", [1e-12, 1e-4, 0.01, 1 / 8, 0.13, 0.5])
@pytest.mark.parametrize(("size", "patch"), [(9, 8), (30, 8), (64, 8), (8, 8)])
def test_steps_below_a_voxel_take_no_time(size, patch, step):
    """Fault 9: no number makes a run endless. Upstream's own formula, where it can be computed."""
    found = patch_starts(size, patch, step)
    if step < 1e-3:
        assert found == list(range(size - patch + 1))
        return
    count = math.ceil((size - patch) / (patch * step)) + 1
    interval = (size - patch) / max(count - 1, 1)
    assert found == sorted({round(interval * index) for index in range(count)})


def test_more_patches_than_anybody_waits_for_are_refused():
    """Fault 9."""
    window = SlidingWindow((4, 4, 4), "spread", "constant", overlap=(0.5, 0.5, 0.5))
    with pytest.raises(OptionError, match=r"\d+ patches would be needed .*larger `step`"):
        plan_windows(window, (201, 201, 201), 0.1)
