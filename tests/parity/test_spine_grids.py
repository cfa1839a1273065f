"""Grids of TotalSpineSeg's workflow against its own functions, through NIfTI files as it does.

Every comparison is of all voxels and of affines to the last bit: there is no tolerance here.
"""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.paths import SHARED
from nibabel.affines import voxel_sizes

from deepseg_lite.steps.box import Cropped
from deepseg_lite.workflows.spine.frames import Frame
from deepseg_lite.workflows.spine.grids import (
    Grid,
    labels_to_grid,
    map_to_grid,
    mean_over_time,
    points_to_grid,
    to_canonical,
    to_isotropic,
)
from deepseg_lite.workflows.spine.headers import affine_of_labels, cropped_affine
from deepseg_lite.workflows.spine.svd import invert

pytest.importorskip("totalspineseg", reason="the original software is not installed")
sitk = pytest.importorskip("SimpleITK", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

DATA = SHARED / "data"
IMAGES = {
    "t2": "sct_testing/t2.nii.gz",
    "t1w": "sct_testing/t1w.nii.gz",
    "t2s": "sct_testing/t2s_uncropped.nii.gz",
    "mt1": "sct_tutorial/mt1.nii.gz",
    "t2_lumbar": "sct_tutorial/t2_lumbar.nii.gz",
    "t2_ms": "sct_tutorial/t2_ms.nii.gz",
    "fmri": "fmri/sub-leipzigR01_mean_bold.nii.gz",
}
TYPES = ["int16", "uint8", "uint16", "int32", "float32", "float64"]
ORIENTATIONS = list(product(permutations(range(3)), product([1, -1], repeat=3)))


def rotation(angles) -> np.ndarray:
    """Return rotations about x, y and z after each other, angles in degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        turn = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def make_affine(spacing, angles=(0, 0, 0), origin=(0, 0, 0), orientation=((0, 1, 2), (1, 1, 1))):
    affine = np.eye(4)
    order, signs = orientation
    affine[:3, :3] = (rotation(angles) @ (np.eye(3) * signs)[:, list(order)]) * spacing
    affine[:3, 3] = origin
    return affine


def make_data(rng, shape, dtype):
    return (rng.random(shape) * 250).astype(dtype)


def make_labels(rng, shape):
    return rng.integers(0, 101, shape).astype(np.uint8)


def save(path: Path, data, affine, codes=(1, 1)) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    nib.save(image, path)
    return path


def read(path: Path):
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def upstream_isotropic(raw: Path, folder: Path) -> Path:
    """Take a file through the original's average, reorientation and resampling."""
    from totalspineseg.utils.average4d import _average4d
    from totalspineseg.utils.reorient_canonical import _reorient_canonical
    from totalspineseg.utils.resample import _resample

    _average4d(raw, folder / "mean.nii.gz")
    _reorient_canonical(folder / "mean.nii.gz", folder / "canonical.nii.gz")
    _resample(folder / "canonical.nii.gz", folder / "iso.nii.gz")
    return folder / "iso.nii.gz"


def upstream_to_grid(image: Path, seg: Path, output: Path, interpolation: str = "nearest"):
    from totalspineseg.utils.transform_seg2image import _transform_seg2image

    _transform_seg2image(image, seg, output, interpolation=interpolation, overwrite=True)
    return read(output)[0]


def assert_same(found, expected):
    assert found.dtype == expected.dtype.newbyteorder("=")
    assert found.shape == expected.shape
    assert np.count_nonzero(found != expected) == 0


def assert_isotropic(raw: Path, folder: Path):
    """Compare the three steps to 1 mm; return what came of it."""
    iso = upstream_isotropic(raw, folder)
    data, affine = read(raw)
    data = mean_over_time(data)
    assert_same(data, read(folder / "mean.nii.gz")[0])
    data, affine = to_canonical(data, affine)
    expected, expected_affine = read(folder / "canonical.nii.gz")
    assert_same(data, expected)
    np.testing.assert_array_equal(affine, expected_affine)
    data, affine = to_isotropic(data, affine)
    expected, expected_affine = read(iso)
    assert_same(data, expected)
    np.testing.assert_array_equal(affine, expected_affine)
    return data, affine


def assert_way_back(raw: Path, folder: Path, rng, shape, affine):
    """Compare what is brought from the grid of 1 mm to the file's, in all three ways."""
    image, image_affine = read(raw)
    zooms = nib.load(raw).header.get_zooms()[:3]
    grid = Grid(image.shape[:3], image_affine, zooms)
    labels = make_labels(rng, shape)
    seg = save(folder / "seg.nii.gz", labels, affine, (2, 2))
    assert_same(
        labels_to_grid(labels, affine, grid), upstream_to_grid(raw, seg, folder / "o.nii.gz")
    )
    soft = rng.random(shape).astype(np.float32)
    seg = save(folder / "soft.nii.gz", soft, affine, (2, 2))
    assert_same(
        map_to_grid(soft, affine, grid), upstream_to_grid(raw, seg, folder / "o.nii.gz", "linear")
    )
    points = make_points(rng, shape)
    seg = save(folder / "points.nii.gz", points, affine, (2, 2))
    assert_same(
        points_to_grid(points, affine, grid),
        upstream_to_grid(raw, seg, folder / "o.nii.gz", "label"),
    )


def assert_way_through_networks(raw: Path, folder: Path, rng):
    """Compare what comes back of labels that ITK wrote, as nnU-Net does."""
    from totalspineseg.utils.crop_image2seg import _crop_image2seg
    from totalspineseg.utils.image import Image

    iso = folder / "iso.nii.gz"
    data, affine = read(iso)
    grid = Grid(read(raw)[0].shape[:3], read(raw)[1], nib.load(raw).header.get_zooms()[:3])
    labels = make_labels(rng, data.shape)
    step1 = written_by_itk(labels, iso, folder / "step1.nii.gz")
    assert_same(upstream_to_grid(iso, step1, step1), labels)
    found_affine = affine_of_labels(affine, affine)
    codes = [int(nib.load(iso).header[name]) for name in ("qform_code", "sform_code")]
    if codes == [2, 2]:
        np.testing.assert_array_equal(found_affine, read(step1)[1])
    else:  # the image was on this grid from the start, and no voxel can be half-way
        np.testing.assert_array_equal(affine, read(raw)[1])
    expected = upstream_to_grid(raw, step1, folder / "o.nii.gz")
    assert_same(labels_to_grid(labels, found_affine, grid), expected)

    points = Image(str(step1))
    points.data = make_points(rng, data.shape)
    points.save(str(folder / "levels.nii.gz"), verbose=0)
    expected = upstream_to_grid(raw, folder / "levels.nii.gz", folder / "o.nii.gz", "label")
    spacing = voxel_sizes(affine)
    assert_same(points_to_grid(points.data, found_affine, grid, spacing), expected)

    box = tuple(slice(size // 4, size - size // 8) for size in data.shape)
    start = tuple(part.start for part in box)
    inner = np.zeros_like(labels)
    inner[box] = 1
    seg = save(folder / "inner.nii.gz", inner, affine, (2, 2))
    _crop_image2seg(iso, seg, folder / "cropped.nii.gz")
    crop_affine = cropped_affine(affine, start)
    np.testing.assert_array_equal(crop_affine, read(folder / "cropped.nii.gz")[1])
    step2 = written_by_itk(labels[box], folder / "cropped.nii.gz", folder / "step2.nii.gz")
    restored = upstream_to_grid(iso, step2, step2)
    assert_same(Cropped(start, data.shape).undo(labels[box]), restored)
    found_affine = affine_of_labels(crop_affine, affine)
    np.testing.assert_array_equal(found_affine, read(step2)[1])
    expected = upstream_to_grid(raw, step2, folder / "o.nii.gz")
    assert_same(labels_to_grid(restored, found_affine, grid), expected)


def written_by_itk(labels, like: Path, output: Path) -> Path:
    """Write labels as nnU-Net's reader and writer does."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    _, properties = SimpleITKIO().read_images([str(like)])
    SimpleITKIO().write_seg(labels.transpose(), str(output), properties)
    return output


def make_points(rng, shape, count=25):
    points = np.zeros(shape, np.uint8)
    for value in range(1, count + 1):
        points[tuple(rng.integers(0, shape))] = value
    points[0, 0, 0] = 30
    points[-1, -1, -1] = 31
    return points


@pytest.mark.parametrize("angles", [(0, 0, 0), (8, -5, 3)], ids=["aligned", "oblique"])
@pytest.mark.parametrize("dtype", TYPES)
def test_types(dtype, angles, tmp_path, rng):
    for number in range(4):
        shape = tuple(rng.integers(1, 24, 3))
        affine = make_affine(rng.uniform(0.5, 3.3, 3), angles, rng.uniform(-150, 150, 3))
        raw = save(tmp_path / f"{number}.nii.gz", make_data(rng, shape, dtype), affine)
        (folder := tmp_path / str(number)).mkdir()
        if (np.array(shape) * nib.affines.voxel_sizes(affine) < 1).any():
            continue
        data, affine = assert_isotropic(raw, folder)
        assert_way_back(raw, folder, rng, data.shape, affine)


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, 4, -7)], ids=["aligned", "oblique"])
def test_scaled_files_are_in_double_precision(angles, tmp_path, rng):
    affine = make_affine((0.8, 1.1, 2.5), angles, (-20.3, 17.9, 3.1))
    image = nib.Nifti1Image(rng.random((17, 20, 9)) * 3000, affine)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "raw.nii.gz")
    data, _ = assert_isotropic(tmp_path / "raw.nii.gz", tmp_path)
    assert data.dtype == np.float64


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_orientations(orientation, tmp_path, rng):
    angles = rng.uniform(-20, 20, 3) * rng.integers(0, 2)
    affine = make_affine((0.9, 2.0, 1.3), angles, rng.uniform(-90, 90, 3), orientation)
    raw = save(tmp_path / "raw.nii.gz", make_data(rng, (9, 14, 11), np.int16), affine)
    data, affine = assert_isotropic(raw, tmp_path)
    assert_way_back(raw, tmp_path, rng, data.shape, affine)
    assert_way_through_networks(raw, tmp_path, rng)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 9, 0)], ids=["aligned", "oblique"])
def test_series(angles, dtype, tmp_path, rng):
    data = make_data(rng, (12, 10, 7, 5), dtype) - 100
    affine = make_affine((1.5, 1.5, 4), angles, (3.3, 2, 1))
    raw = save(tmp_path / "raw.nii.gz", data, affine)
    result, affine = assert_isotropic(raw, tmp_path)
    assert_way_back(raw, tmp_path, rng, result.shape, affine)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 4)], ids=["qform", "sform", "both"])
def test_qform_and_sform(codes, tmp_path, rng):
    for number in range(6):
        affine = make_affine(
            rng.uniform(0.5, 2, 3), rng.uniform(-30, 30, 3), rng.uniform(-99, 99, 3)
        )
        raw = save(tmp_path / f"{number}.nii.gz", make_data(rng, (8, 9, 7), "int16"), affine, codes)
        (folder := tmp_path / str(number)).mkdir()
        data, affine = assert_isotropic(raw, folder)
        assert_way_back(raw, folder, rng, data.shape, affine)


@pytest.mark.parametrize(
    "spacing",
    [(1, 1, 1), (2, 2, 2), (0.5, 0.5, 4), (0.8, 0.8, 0.8), (1, 0.5, 3), (1.25, 2, 0.75)],
    ids=str,
)
@pytest.mark.parametrize(
    "origin", [(0, 0, 0), (-10.5, 20.25, 7), (-43.1, 99.7, -0.3)], ids=["zero", "round", "odd"]
)
@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (8, 0, 0), (-11, 7, 23)], ids=["aligned", "turned", "oblique"]
)
def test_ties(angles, origin, spacing, tmp_path, rng):
    """Grids on which many voxels are half-way between two others."""
    for number, shape in enumerate([(10, 12, 8), (11, 7, 9)]):
        affine = make_affine(spacing, angles, origin)
        raw = save(tmp_path / f"{number}.nii.gz", make_data(rng, shape, "int16"), affine)
        (folder := tmp_path / str(number)).mkdir()
        data, affine = assert_isotropic(raw, folder)
        assert_way_back(raw, folder, rng, data.shape, affine)
        assert_way_through_networks(raw, folder, rng)


def test_oblique_images_of_1_mm_lose_voxels_as_in_the_original(tmp_path, rng):
    kept = []
    for number in range(20):
        affine = make_affine((1, 1, 1), rng.uniform(-30, 30, 3), rng.uniform(-99, 99, 3))
        raw = save(tmp_path / f"{number}.nii.gz", make_data(rng, (9, 8, 10), "uint8"), affine)
        (folder := tmp_path / str(number)).mkdir()
        data, affine = assert_isotropic(raw, folder)
        assert_way_back(raw, folder, rng, data.shape, affine)
        assert_way_through_networks(raw, folder, rng)
        kept.extend(np.equal(data.shape, (9, 8, 10)))
    assert any(kept)
    assert not all(kept)


def test_unrounded_affines_in_memory(rng):
    """The functions themselves, without files: exact ties of oblique grids."""
    from totalspineseg.utils.transform_seg2image import transform_seg2image

    for _ in range(30):
        angles = rng.uniform(-30, 30, 3)
        shape, new_shape = rng.integers(2, 20, 3), rng.integers(2, 20, 3)
        affine = make_affine((1, 1, 1), angles, (3, 4, 5))
        new_affine = make_affine(rng.choice([0.5, 1, 2, 3], 3), angles, (3, 4, 5))
        new_affine[:3, 3] += affine[:3, :3] @ rng.choice([0, 0.5, 1], 3)
        labels = make_labels(rng, shape)
        image = nib.Nifti1Image(np.zeros(new_shape, np.uint8), new_affine)
        expected = transform_seg2image(image, nib.Nifti1Image(labels, affine))
        found = labels_to_grid(labels, affine, Grid(tuple(new_shape), new_affine))
        assert_same(found, np.asanyarray(expected.dataobj))


def test_crop_and_back(tmp_path, rng):
    from totalspineseg.utils.crop_image2seg import _crop_image2seg

    for number, angles in enumerate([(0, 0, 0), (9, -4, 13)]):
        affine = make_affine((1, 1, 1), angles, rng.uniform(-99, 99, 3))
        labels = np.zeros((30, 34, 40), np.uint8)
        labels[12:20, 14:25, 3:30] = make_labels(rng, (8, 11, 27))
        data = make_data(rng, labels.shape, "int16")
        (folder := tmp_path / str(number)).mkdir()
        image = save(folder / "image.nii.gz", data, affine)
        seg = save(folder / "seg.nii.gz", labels, affine)
        _crop_image2seg(image, seg, folder / "cropped.nii.gz", margin=10)
        box = (slice(2, 30), slice(4, 34), slice(0, 40))
        assert_same(data[box], read(folder / "cropped.nii.gz")[0])

        cropped = upstream_to_grid(folder / "cropped.nii.gz", seg, folder / "in_crop.nii.gz")
        assert_same(labels[box], cropped)
        restored = upstream_to_grid(image, folder / "in_crop.nii.gz", folder / "back.nii.gz")
        assert_same(Cropped((2, 4, 0), labels.shape).undo(cropped), restored)


@pytest.mark.parametrize("name", IMAGES)
def test_real_images(name, tmp_path, rng):
    raw = DATA / IMAGES[name]
    if not raw.is_file():
        pytest.skip("the real images (../shared) are not here")
    data, affine = assert_isotropic(raw, tmp_path)
    assert_way_back(raw, tmp_path, rng, data.shape, affine)
    assert_way_through_networks(raw, tmp_path, rng)


def test_frames_are_those_of_simpleitk(rng):
    """Matrices and their inverses, bit by bit."""
    for number in range(600):
        order, signs = ORIENTATIONS[number % 48]
        spacing = rng.uniform(0.3, 6, 3) if number % 3 else rng.choice([0.5, 1, 2], 3)
        angles = [(0, 0, 0), (7, 0, 0), rng.uniform(-45, 45, 3)][number % 5 % 3]
        affine = make_affine(spacing, angles, rng.uniform(-300, 300, 3), (order, signs))
        if number % 2:
            affine = affine.astype(np.float32).astype(np.float64)
        frame = Frame.from_affine(affine)
        image = sitk.Image([3, 4, 5], sitk.sitkUInt8)
        image.SetDirection(frame.direction.ravel().tolist())
        image.SetSpacing(frame.spacing.tolist())
        columns = [image.TransformPhysicalPointToContinuousIndex(e) for e in np.eye(3).tolist()]
        np.testing.assert_array_equal(
            invert(frame.direction * frame.spacing), np.transpose(columns)
        )
        image.SetOrigin(frame.origin.tolist())
        index = rng.integers(-9, 400, 3).tolist()
        point = image.TransformIndexToPhysicalPoint(index)
        assert [float(x) for x in frame.place(*index)] == list(point)
        place = rng.uniform(-300, 300, 3).tolist()
        expected = image.TransformPhysicalPointToContinuousIndex(place)
        assert [float(x) for x in frame.index(place)] == list(expected)
