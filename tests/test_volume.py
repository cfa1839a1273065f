"""Volumes: spacing and orientation follow the affine."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import ORIENTATIONS, make_affine

from deepseg_lite.volume import Volume


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_is_nibabels(orientation):
    volume = Volume.from_array(np.zeros((2, 3, 4)), make_affine(orientation))
    assert volume.orientation == orientation


def test_spacing_is_in_array_axis_order():
    volume = Volume.from_array(np.zeros((2, 3, 4)), make_affine("ASR", spacing=(0.5, 2, 3)))
    np.testing.assert_allclose(volume.spacing, (0.5, 2, 3))


def test_one_image_gets_a_channel_axis():
    assert Volume.from_array(np.zeros((2, 3, 4)), np.eye(4)).data.shape == (1, 2, 3, 4)


def test_channels_stay_and_shape_is_spatial():
    volume = Volume.from_array(np.zeros((5, 2, 3, 4), np.int16), np.eye(4))
    assert volume.data.shape == (5, 2, 3, 4)
    assert volume.data.dtype == np.float32
    assert volume.shape == (2, 3, 4)
