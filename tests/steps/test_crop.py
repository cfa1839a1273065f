"""Windows around the centre, which may reach beyond the volume."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.affines import apply_affine

from deepseg_lite.steps.box import cut
from deepseg_lite.steps.crop import center_crop
from deepseg_lite.volume import Volume


def _numbered(shape):
    data = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    return Volume.from_array(data, np.diag([1.0, 2, 3, 1]))


@pytest.mark.parametrize(
    ("size", "start"), [(95, 0), (97, 0), (99, 2), (101, 2), (93, -2), (91, -2)]
)
def test_half_of_the_difference_is_rounded_to_even(size, start):
    _, record = center_crop(_numbered((size, 1, 1)), (96, None, None))
    assert record.start == (start, 0, 0)


@pytest.mark.parametrize("size", [(3, 9, None), (8, 2, 5), (None, 1, 12)])
def test_what_is_inside_comes_back_and_the_rest_is_zero(size):
    volume = _numbered((6, 5, 7))
    cropped, record = center_crop(volume, size)
    expected = [old if new is None else new for old, new in zip((6, 5, 7), size, strict=True)]
    assert cropped.shape == tuple(expected)
    back = record.undo(cropped.data)
    assert back.shape == volume.data.shape
    kept = back != 0
    np.testing.assert_array_equal(back[kept], volume.data[kept])
    assert kept.sum() == np.prod(np.minimum(expected, (6, 5, 7)))


def test_voxels_stay_where_they_are_in_space():
    volume = _numbered((6, 5, 7))
    cropped, _ = cut(volume, (2, -1, 3), (3, 4, 9))
    assert cropped.data[0, 1, 2, 3] == volume.data[0, 3, 1, 6]
    np.testing.assert_allclose(
        apply_affine(cropped.affine, (1, 2, 3)), apply_affine(volume.affine, (3, 1, 6))
    )
    assert not cropped.data[0, :, 0].any()
    assert not cropped.data[0, :, :, 4:].any()
