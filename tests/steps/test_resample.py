"""Frames, crops and resampling: where voxels are in space, and the way back."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from helpers.bundles import ORIENTATIONS, make_affine
from nibabel.affines import apply_affine, voxel_sizes

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.crop import crop_to_nonzero, nonzero_mask
from deepseg_lite.steps.frame import to_frame
from deepseg_lite.steps.interpolation import Interpolation, ResamplingPlan
from deepseg_lite.steps.resample import Resampled, resample, zoom
from deepseg_lite.steps.respace import respace
from deepseg_lite.volume import Volume

AXES = ["".join(order) for order in itertools.permutations("xyz")]
CUBIC = Interpolation(3, "never", 0)
LINEAR = Interpolation(1, "never", 0)
SEPARATE = Interpolation(3, "auto", 0)


def _numbered(orientation: str, shape: tuple[int, int, int] = (3, 4, 5)) -> Volume:
    """Return a volume whose voxels are all different."""
    return Volume.from_array(np.arange(np.prod(shape)).reshape(shape), make_affine(orientation))


def _positions(volume: Volume) -> np.ndarray:
    """Return where each voxel is, in mm, sorted by its value."""
    indices = np.argwhere(np.ones(volume.shape, bool))
    return apply_affine(volume.affine, indices)[np.argsort(volume.data[0].ravel())]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_reorienting_leaves_voxels_where_they_are_in_space(orientation):
    volume = _numbered(orientation)
    framed, _ = to_frame(volume, "LAS", "zyx")
    assert framed.orientation == "SAL"
    np.testing.assert_allclose(_positions(framed), _positions(volume), atol=1e-9)
    np.testing.assert_allclose(framed.spacing, voxel_sizes(framed.affine))


@pytest.mark.parametrize("target", ORIENTATIONS)
def test_every_target_orientation_is_reached(target):
    framed, _ = to_frame(_numbered("PIR"), target, "xyz")
    assert framed.orientation == target


@pytest.mark.parametrize("axes", AXES)
def test_axis_order_counts_from_the_oriented_image(axes):
    framed, _ = to_frame(_numbered("PIR"), "RAS", axes)
    assert framed.orientation == "".join("RAS"["xyz".index(letter)] for letter in axes)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_undoing_a_frame_is_exact_for_labels_and_channels(orientation):
    volume = _numbered(orientation)
    framed, record = to_frame(volume, "RSP", "yzx")
    np.testing.assert_array_equal(record.undo(framed.data), volume.data)
    np.testing.assert_array_equal(record.undo(framed.data[0]), volume.data[0])


def test_null_orientation_keeps_the_files_own():
    volume = _numbered("PIR")
    framed, record = to_frame(volume, None, "zyx")
    np.testing.assert_array_equal(framed.data[0], volume.data[0].T)
    np.testing.assert_array_equal(record.undo(framed.data), volume.data)


def test_crop_keeps_the_bounding_box_over_all_channels():
    data = np.zeros((2, 6, 7, 8), np.float32)
    data[0, 2, 3, 4] = 1
    data[1, 4, 3, 5] = -1
    volume = Volume.from_array(data, make_affine("LPI"))
    cropped, record = crop_to_nonzero(volume)
    np.testing.assert_array_equal(cropped.data, data[:, 2:5, 3:4, 4:6])
    np.testing.assert_allclose(cropped.affine[:3, 3], apply_affine(volume.affine, (2, 3, 4)))
    np.testing.assert_array_equal(record.undo(cropped.data), data)


def test_crop_of_a_volume_without_zeros_keeps_it():
    volume = Volume.from_array(np.ones((3, 4, 5)), np.eye(4))
    cropped, record = crop_to_nonzero(volume)
    np.testing.assert_array_equal(cropped.data, volume.data)
    assert record is None


def test_undoing_a_crop_keeps_the_type_and_fills_with_background():
    data = np.zeros((4, 4, 4), np.float32)
    data[1:3, 1:3, 1:3] = 1
    _, record = crop_to_nonzero(Volume.from_array(data, np.eye(4)))
    restored = record.undo(np.full((2, 2, 2), 7, np.uint16))
    assert restored.dtype == np.uint16
    np.testing.assert_array_equal(restored, 7 * data)


def test_nonzero_mask_has_its_holes_filled():
    data = np.zeros((1, 5, 5, 5), np.float32)
    data[0, 1:4, 1:4, 1:4] = 1
    full = data[0].astype(bool)
    data[0, 2, 2, 2] = 0
    np.testing.assert_array_equal(nonzero_mask(data), full)


@pytest.mark.parametrize(
    ("shape", "spacing", "target", "expected"),
    [
        ((10, 10, 10), (1, 1, 1), (0.5, 2, 1), (20, 5, 10)),
        ((5, 5, 5), (1, 1, 1), (2, 2, 2), (2, 2, 2)),  # 2.5 goes to the even neighbour
        ((7, 7, 7), (1, 1, 1), (2, 2, 2), (4, 4, 4)),  # so does 3.5
        ((1, 9, 9), (5, 1, 1), (50, 1.5, None), (1, 6, 9)),
        ((20, 18, 12), (0.5, 0.5, 5.0), (0.5, 0.5, 5.0), (20, 18, 12)),
    ],
    ids=["finer-and-coarser", "ties-down", "ties-up", "single-slice", "same"],
)
def test_resampled_shape_is_rounded_as_python_rounds(shape, spacing, target, expected):
    volume = Volume.from_array(np.ones(shape), np.diag([*spacing, 1]))
    resampled, _ = resample(volume, target, CUBIC, LINEAR)
    assert resampled.shape == expected
    wanted = [old if new is None else new for new, old in zip(target, spacing, strict=True)]
    np.testing.assert_allclose(resampled.spacing, wanted)


@pytest.mark.parametrize("target", [(0.5, 0.9, 4.1), (2.2, 0.3, 1.0)], ids=str)
def test_outer_corners_of_the_grid_stay_where_they_are(target, rng):
    volume = Volume.from_array(rng.normal(size=(9, 11, 6)), make_affine("SPL"))
    resampled, _ = resample(volume, target, CUBIC, LINEAR)
    for corner in itertools.product((0, 1), repeat=3):
        before = np.multiply(corner, volume.shape) - 0.5
        after = np.multiply(corner, resampled.shape) - 0.5
        np.testing.assert_allclose(
            apply_affine(resampled.affine, after), apply_affine(volume.affine, before), atol=1e-9
        )


@pytest.mark.parametrize("interpolation", [LINEAR, CUBIC, SEPARATE], ids=["linear", "cubic", "sep"])
def test_undone_scores_are_on_the_old_grid(interpolation, rng):
    volume = Volume.from_array(rng.normal(size=(12, 10, 5)), np.diag([0.5, 0.6, 4, 1]))
    resampled, record = resample(volume, (0.8, 0.4, 4), CUBIC, interpolation)
    scores = np.full((3, *resampled.shape), 2.5, np.float32)
    np.testing.assert_allclose(record.undo(scores), np.full((3, *volume.shape), 2.5), rtol=1e-5)


@pytest.mark.parametrize("slab_voxels", [1, 300, 1000, 10**9])
@pytest.mark.parametrize(
    ("spacing", "target"),
    [
        ((1, 1, 1), (1.3, 0.7, 1.6)),
        ((1, 1, 5), (1.3, 0.7, 2)),
        ((5, 1, 1), (2, 0.7, 1.6)),
        ((5, 1, 1), (5, 0.7, 1.6)),
        ((1, 1, 1), (1, 1.4, 1)),
        ((1, 1, 1), (1, 1, 1)),
    ],
    ids=["isotropic", "low-z", "low-x", "low-x-kept", "one-axis", "none"],
)
@pytest.mark.parametrize("scores_by", [LINEAR, CUBIC, SEPARATE], ids=["linear", "cubic", "sep"])
def test_slabs_joined_equal_the_whole(rng, slab_voxels, spacing, target, scores_by):
    volume = Volume.from_array(rng.normal(size=(9, 11, 7)), np.diag([*spacing, 1]))
    resampled, record = resample(volume, target, CUBIC, scores_by)
    scores = rng.normal(size=(2, *resampled.shape)).astype(np.float32)
    whole = record.undo(scores)
    slabs = list(record.undo_slabs(scores, slab_voxels=slab_voxels))
    assert len(slabs) == 1 or slab_voxels < 10**9
    np.testing.assert_allclose(np.concatenate(slabs, axis=1), whole, atol=1e-5)
    assert whole.shape == (2, *volume.shape)


@pytest.mark.parametrize("thickness", [1, 3, 100])
@pytest.mark.parametrize(
    ("spacing", "target"),
    [
        ((1, 1, 1), (1.3, 0.7, 1.6)),
        ((1, 1, 1), (0.4, 0.7, 1.6)),
        ((1, 1, 1), (3.2, 1, 1)),
        ((5, 1, 1), (2, 0.7, 1.6)),
        ((1, 1, 1), (1, 1.4, 1)),
        ((1, 1, 1), (1, 1, 1)),
    ],
    ids=["coarser", "finer", "one-axis", "low-x", "kept", "none"],
)
@pytest.mark.parametrize("scores_by", [LINEAR, CUBIC, SEPARATE], ids=["linear", "cubic", "sep"])
def test_parts_joined_equal_the_whole(rng, thickness, spacing, target, scores_by):
    """The rows that a part is made of are overwritten when it is done."""
    volume = Volume.from_array(rng.normal(size=(9, 11, 7)), np.diag([*spacing, 1]))
    resampled, record = resample(volume, target, CUBIC, scores_by)
    scores = rng.normal(size=(2, *resampled.shape)).astype(np.float32)

    def rows():
        for first in range(0, resampled.shape[0], thickness):
            row = scores[:, first : first + thickness].copy()
            yield row
            row[:] = np.nan

    parts = [part.undo(needed) for part, needed in record.parts(rows())]
    assert len(parts) == 1 or thickness < 100
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), record.undo(scores))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_voxel_axes_survive_there_and_back(axis, rng):
    shape = [8, 8, 8]
    shape[axis] = 1
    volume = Volume.from_array(rng.normal(size=shape), np.eye(4))
    resampled, record = resample(volume, (0.6, 0.6, 0.6), CUBIC, LINEAR)
    assert resampled.shape[axis] == 2
    assert record.undo(resampled.data).shape == volume.data.shape
    shape[axis] = 8
    thick = Volume.from_array(rng.normal(size=shape), np.eye(4))
    target = [1.0, 1.0, 1.0]
    target[axis] = 100.0
    resampled, _ = resample(thick, tuple(target), CUBIC, LINEAR)
    assert resampled.shape[axis] == 1


@pytest.mark.parametrize("thickness", [1, 2, 10])
def test_rows_beyond_the_axis_are_zero_in_whatever_parts(rng, thickness):
    """Some grids go on where there is nothing to take a mean of."""
    matrix = np.zeros((7, 4), np.float32)
    matrix[1:6] = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0.25, 0.75], [0, 0, 0, 1]]
    record = Resampled(ResamplingPlan((matrix, None, None), (7, 3, 2), None, clip=False))
    scores = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
    expected = np.einsum("ij,kjyz->kiyz", matrix, scores)
    np.testing.assert_allclose(record.undo(scores), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        record.plan.apply(scores[0], slice(6, 7), None), np.zeros((1, 3, 2))
    )
    rows = [scores[:, first : first + thickness] for first in range(0, 4, thickness)]
    parts = [part.undo(needed) for part, needed in record.parts(rows)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), record.undo(scores))


@pytest.mark.parametrize("step", [zoom, lambda v, s: resample(v, s, CUBIC, LINEAR)])
def test_a_plan_of_a_grid_does_not_do_the_work(step):
    """Fault 17: the matrices of such an axis would have 217 GB."""
    plan = Volume(np.empty((0, 170_000, 4, 4), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    tracemalloc.start()
    found, _ = step(plan, (0.9, None, None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (188_889, 4, 4)
    assert peak < 1e6


@pytest.mark.parametrize(
    "step",
    [zoom, lambda v, s: resample(v, s, CUBIC, LINEAR), lambda v, s: respace(v, s, False, {}, {})],
)
def test_a_grid_beyond_all_memory_is_refused(step):
    """Fault 3: micrometres that were taken for millimetres."""
    volume = Volume(
        np.zeros((1, 100, 100, 20), np.float32), np.diag([500, 500, 3000, 1]), (500, 500, 3000)
    )
    with pytest.raises(ImageError, match=r"check the voxel size in its header"):
        step(volume, (0.5, 0.5, 0.5))
