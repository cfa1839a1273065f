"""Patches at a fixed distance, each normalised by itself."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.errors import ImageError
from deepseg_lite.inference.patches import stride_starts
from deepseg_lite.steps.intensity import normalize_instance


@pytest.mark.parametrize(
    ("size", "patch", "stride", "starts"),
    [(16, 16, 8, [0]), (32, 16, 8, [0, 8, 16]), (48, 16, 16, [0, 16, 32]), (7, 3, 2, [0, 2, 4])],
)
def test_patches_that_fit_start_at_multiples_of_the_stride(size, patch, stride, starts):
    assert stride_starts(size, patch, stride) == starts
    assert stride_starts(size, patch, stride, clamp=True) == starts


@pytest.mark.parametrize(("size", "starts"), [(17, [0, 1]), (25, [0, 8, 9]), (30, [0, 8, 14])])
def test_a_last_patch_is_moved_back_only_when_asked(size, starts):
    assert stride_starts(size, 16, 8, clamp=True) == starts
    with pytest.raises(ImageError, match=f"{size} voxels .* multiple of 8"):
        stride_starts(size, 16, 8)


@pytest.mark.parametrize("clamp", [False, True])
def test_an_axis_shorter_than_a_patch_is_refused(clamp):
    with pytest.raises(ImageError, match="15 voxels"):
        stride_starts(15, 16, 8, clamp=clamp)


def test_each_channel_gets_mean_0_and_deviation_1(rng):
    patch = rng.normal([[[[50]]], [[[-9]]]], [[[[3]]], [[[40]]]], (2, 6, 7, 8)).astype(np.float32)
    found = normalize_instance(patch[:, 1:5, ::2])
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), 1, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("deviation", "is_scaled"), [(9e-6, False), (1.1e-5, True), (0, False)])
def test_a_patch_that_hardly_varies_is_only_shifted(deviation, is_scaled):
    patch = np.zeros((1, 2, 2, 2), np.float32)
    patch[0, 0], patch[0, 1] = deviation, -deviation
    assert np.abs(normalize_instance(patch)).max() == pytest.approx(1 if is_scaled else deviation)


def test_the_patch_stays_as_it_was(rng):
    patch = rng.random((1, 3, 3, 3), np.float32)
    before = patch.copy()
    normalize_instance(patch)
    np.testing.assert_array_equal(patch, before)
