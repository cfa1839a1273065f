"""Normalisation schemes, each against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps import intensity


@pytest.fixture
def image(rng):
    return rng.uniform(-50, 900, (6, 5, 4)).astype(np.float32)


def test_zscore_has_mean_zero_and_deviation_one(image):
    found = intensity.zscore(image)
    assert found.mean() == pytest.approx(0, abs=1e-5)
    assert found.std() == pytest.approx(1, rel=1e-5)


def test_zscore_in_a_mask_leaves_the_outside(image):
    mask = image > 300
    found = intensity.zscore(image, mask=mask)
    np.testing.assert_array_equal(found[~mask], image[~mask])
    assert found[mask].mean() == pytest.approx(0, abs=1e-5)
    assert found[mask].std() == pytest.approx(1, rel=1e-5)


def test_zscore_of_a_constant_is_zero():
    np.testing.assert_array_equal(intensity.zscore(np.full((2, 2, 2), 7, np.float32)), 0)


def test_clip_zscore_uses_the_given_statistics(image):
    found = intensity.clip_zscore(image, lower=0, upper=500, mean=100, std=20)
    np.testing.assert_allclose(found, (np.clip(image, 0, 500) - 100) / 20, rtol=1e-5, atol=1e-6)


def test_clip_zscore_bears_a_deviation_of_zero(image):
    assert np.isfinite(intensity.clip_zscore(image, lower=0, upper=1, mean=0, std=0)).all()


def test_rescale_maps_to_zero_and_one(image):
    found = intensity.rescale(image)
    assert (found.min(), found.max()) == (0, 1)
    np.testing.assert_array_equal(intensity.rescale(np.full((2, 2, 2), 7, np.float32)), 0)


def test_divide_divides(image):
    np.testing.assert_allclose(intensity.divide(image, by=255), image / 255, rtol=1e-6)


def test_none_changes_nothing(image):
    np.testing.assert_array_equal(intensity.none(image), image)


KEYWORDS = {
    "zscore": {},
    "clip_zscore": {"lower": 0, "upper": 1, "mean": 0, "std": 1},
    "rescale": {},
    "divide": {"by": 255},
    "none": {},
}


@pytest.mark.parametrize("scheme", intensity.SCHEMES)
def test_no_scheme_changes_its_input_or_leaves_float32(image, scheme):
    before = image.copy()
    found = intensity.SCHEMES[scheme](image, **KEYWORDS[scheme])
    np.testing.assert_array_equal(image, before)
    assert (found.dtype, found.shape) == (np.float32, image.shape)
