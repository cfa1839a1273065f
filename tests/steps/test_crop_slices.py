"""Slices without contrast are left out and come back as zeros."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.crop import drop_constant_slices
from deepseg_lite.volume import Volume


def _volume(rng, constant=(0, 3), channels=1):
    data = rng.random((channels, 5, 4, 3), np.float32)
    data[-1, list(constant)] = 0
    return Volume.from_array(data, np.eye(4))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_slice_goes_when_one_channel_is_constant(rng, channels):
    volume = _volume(rng, channels=channels)
    kept, record = drop_constant_slices(volume)
    assert record.indices == (1, 2, 4)
    np.testing.assert_array_equal(kept.data, volume.data[:, [1, 2, 4]])


def test_dropped_slices_come_back_as_zeros(rng):
    _, record = drop_constant_slices(_volume(rng))
    maps = rng.random((2, 3, 4, 3), np.float32)
    back = record.undo(maps)
    np.testing.assert_array_equal(back[:, [1, 2, 4]], maps)
    assert not back[:, [0, 3]].any()
    assert back.dtype == np.float32
    np.testing.assert_array_equal(record.undo(maps[0]), back[0])


def test_an_image_without_contrast_is_refused(rng):
    with pytest.raises(ImageError, match="Every slice"):
        drop_constant_slices(_volume(rng, constant=range(5)))


def test_nothing_is_copied_when_all_slices_stay(rng):
    volume = _volume(rng, constant=())
    kept, _ = drop_constant_slices(volume)
    assert np.shares_memory(kept.data, volume.data)
