"""Intensity steps on whole volumes."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.steps import intensity
from deepseg_lite.volume import Volume


@pytest.fixture
def volume():
    data = np.array([[0, 1, 2, 3], [10, 20, 30, 40]], np.float32).reshape(2, 4, 1, 1)
    return Volume.from_array(data, np.eye(4))


def values(step):
    found, record = step
    assert record is None
    assert found.data.dtype == np.float32
    return found.data.reshape(2, 4).tolist()


@pytest.mark.parametrize(
    ("target", "clip", "expected"),
    [
        ([0, 1], False, [[0, 0.1, 0.2, 0.3], [1, 2, 3, 4]]),
        ([0, 1], True, [[0, 0.1, 0.2, 0.3], [1, 1, 1, 1]]),
        ([-1, 1], False, [[-1, -0.8, -0.6, -0.4], [1, 3, 5, 7]]),
        ([None, 2], True, [[0, 0.1, 0.2, 0.3], [1, 2, 2, 2]]),
        ([None, None], False, [[0, 0.1, 0.2, 0.3], [1, 2, 3, 4]]),
    ],
    ids=str,
)
def test_ranges(volume, target, clip, expected):
    np.testing.assert_allclose(
        values(intensity.scale_range(volume, [0, 10], target, clip)), expected, rtol=1e-6
    )


def test_own_range_of_all_channels_or_of_each(volume):
    together = values(intensity.scale_to_range(volume, [0, 4], False))
    assert together[0][0] == 0
    assert together[1] == [1, 2, 3, 4]
    each = values(intensity.scale_to_range(volume, [0, 3], True))
    np.testing.assert_allclose(each, [[0, 1, 2, 3]] * 2, rtol=1e-6)


def test_a_flat_image_is_multiplied_by_the_lower_end():
    flat = Volume.from_array(np.full((2, 4, 1, 1), 5.0), np.eye(4))
    assert values(intensity.scale_to_range(flat, [0.5, 1], False)) == [[2.5] * 4] * 2


def test_multiply(volume):
    assert values(intensity.multiply(volume, 2))[0] == [0, 2, 4, 6]


def test_standardizing_together_and_apart(volume):
    found = np.array(values(intensity.standardize(volume, None, None, False, False)))
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, rel=1e-6)
    each = np.array(values(intensity.standardize(volume, None, None, False, True)))
    np.testing.assert_allclose(each.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(each.std(axis=1), 1, rtol=1e-6)


def test_zeros_stay_out_of_it_on_request(volume):
    found = values(intensity.standardize(volume, None, None, True, True))
    assert found[0][0] == 0
    np.testing.assert_allclose(found[0][1:], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6, atol=1e-7)
    nothing = Volume.from_array(np.zeros((2, 4, 1, 1)), np.eye(4))
    assert values(intensity.standardize(nothing, None, None, True, False)) == [[0] * 4] * 2


def test_given_statistics_and_a_deviation_of_zero(volume):
    found = values(intensity.standardize(volume, [1, 10], [2, 0], False, True))
    assert found == [[-0.5, 0, 0.5, 1], [0, 10, 20, 30]]


@pytest.mark.parametrize(("above", "expected"), [(True, [-1, -1, -1, 3]), (False, [0, 1, -1, -1])])
def test_threshold(volume, above, expected):
    assert values(intensity.threshold(volume, 2, above, -1))[0] == expected


def test_inputs_are_not_changed(volume):
    before = volume.data.copy()
    intensity.standardize(volume, None, None, True, False)
    intensity.scale_range(volume, [0, 1], [0, 1], True)
    intensity.threshold(volume, 1, True, 0)
    np.testing.assert_array_equal(volume.data, before)
