"""Resampling by shapes: sizes, places, values, and the way back with rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers.bundles import make_affine
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.affine_arithmetic import inverse, product
from deepseg_lite.steps.resize import resize
from deepseg_lite.volume import Volume

AXES = ["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"]


def _framed(data: np.ndarray, affine: np.ndarray, axes: str) -> Volume:
    order = ["xyz".index(letter) for letter in axes]
    spacing = np.linalg.norm(affine[:3, order], axis=0)
    return Volume(
        data.transpose(order)[None].astype(np.float32),
        affine[:, [*order, 3]],
        tuple(map(float, spacing)),
    )


@pytest.mark.parametrize(
    ("size", "old", "expected"),
    [(10, 0.5, 20), (5, 0.3, 6), (3, 0.375, 4), (5, 0.375, 8), (7, 0.1, 3), (1, 0.01, 1)],
)
def test_a_size_is_rounded_with_ties_to_even(size, old, expected):
    volume = Volume.from_array(np.arange(size).reshape(-1, 1, 1), np.diag([old, 1, 1, 1]))
    found, record = resize(volume, (0.25, None, None), axes="xyz")
    assert found.shape == (expected, 1, 1)
    assert found.spacing[0] == pytest.approx(old * size / expected)
    assert record.undo(found.data).shape == (1, size, 1, 1)


def test_values_lie_between_voxels_and_go_on_beyond_the_last():
    volume = Volume.from_array(np.reshape([0.0, 2.0, 4.0], (-1, 1, 1)), np.diag([0.5, 1, 1, 1]))
    found, _ = resize(volume, (0.25, None, None), axes="xyz")
    np.testing.assert_allclose(found.data.ravel(), [0, 1, 2, 3, 4, 4])


@pytest.mark.parametrize("axes", AXES)
def test_the_first_voxel_stays_in_place(axes, rng):
    affine = make_affine("PSR", (0.7, 1.1, 2.5))
    volume = _framed(rng.random((9, 7, 5)), affine, axes)
    found, record = resize(volume, (0.4, None, 0.9), axes=axes)
    np.testing.assert_allclose(found.affine[:3, 3], affine[:3, 3])
    np.testing.assert_allclose(found.data[0, 0, 0, 0], volume.data[0, 0, 0, 0], rtol=1e-6)
    middle = apply_affine(found.affine, np.divide(found.shape, 2))
    same = apply_affine(volume.affine, np.divide(volume.shape, 2))
    np.testing.assert_allclose(middle, same, atol=1e-9)
    assert record.undo(found.data).shape == volume.data.shape


@pytest.mark.parametrize("axes", AXES)
def test_the_order_of_axes_in_the_frame_changes_nothing(axes, rng):
    data, affine = rng.random((12, 10, 4)), make_affine("LPS", (0.78125, 0.78125, 3.0))
    targets = dict(zip("xyz", (0.25, 0.25, None), strict=True))
    plain, plain_record = resize(_framed(data, affine, "xyz"), (0.25, 0.25, None), axes="xyz")
    found, record = resize(
        _framed(data, affine, axes), [targets[letter] for letter in axes], axes=axes
    )
    order = ["xyz".index(letter) for letter in axes]
    np.testing.assert_array_equal(found.data[0], plain.data[0].transpose(order))
    mask = (plain.data > 0.5).astype(np.uint8)
    back = record.undo(mask[0].transpose(order))
    np.testing.assert_array_equal(back, plain_record.undo(mask)[0].transpose(order))


def test_whole_numbers_come_back_rounded_and_others_do_not():
    volume = Volume.from_array(np.zeros((2, 1, 1)), np.diag([1.0, 1, 1, 1]))
    _, record = resize(volume, (0.4, None, None), axes="xyz")  # 5 voxels, 2.5 apart
    line = np.reshape([0, 0, 0, 1, 1], (5, 1, 1))
    assert record.undo(line.astype(np.uint8)).ravel().tolist() == [0, 1]
    assert record.undo(line.astype(np.float32)).ravel().tolist() == [0, 0.5]
    assert record.undo(line.astype(np.uint8)).dtype == np.uint8


def test_a_grid_that_no_machine_holds_is_refused():
    volume = Volume(np.empty((0, 2000, 2000, 200), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    with pytest.raises(ImageError, match="check the voxel size"):
        resize(volume, (0.01, 0.01, None), axes="xyz")


@given(st.tuples(*[st.floats(-4, 4).map(lambda x: float(np.float32(x)))] * 12))
def test_an_inverse_is_one(numbers):
    affine = np.vstack([np.reshape(numbers, (3, 4)), [0, 0, 0, 1]])
    if abs(np.linalg.det(affine)) < 0.1:
        return
    found = inverse(affine)
    np.testing.assert_allclose(product(found, affine), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(found, np.linalg.inv(affine), rtol=1e-9, atol=1e-9)


def test_a_product_adds_each_term_with_one_rounding():
    a, b = np.eye(4), np.eye(4)
    a[0] = [1 / 3, 2 / 3, 1e-17, 1]
    b[:, 0] = [3, 1.5, 1e17, -2.0]
    expected = 0.0
    for x, y in zip(a[0].tolist(), b[:, 0].tolist(), strict=True):
        expected = float(Fraction(x) * Fraction(y) + Fraction(expected))
    assert product(a, b)[0, 0] == expected


def test_the_inverse_is_the_same_on_every_computer():
    """As OpenBLAS rounds on processors with AVX2: those with AVX-512 differ in the last bits."""
    affine = np.diag([-0.78125, 0.78125, 3.0, 1.0])
    affine[:3, 0] += [0.0, 0.0025, 0.0103]
    affine[:3, 2] += [0.0407, 0.7054, -0.0844]
    affine[:3, 3] = [97.78, 55.80, -20.66]
    found = inverse(affine)
    assert float.hex(float(found[1, 0])) == "0x1.b8c3ad72c6290p-17"  # AVX-512: ...2e1
