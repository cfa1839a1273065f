"""NIfTI files: what is kept of the input."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_image

from deepseg_lite.errors import ImageError
from deepseg_lite.nifti import names, reading, writing
from deepseg_lite.nifti.checks import check_array

LABELS = (make_data() > 0.5).astype(np.uint8)


def _like(tmp_path: Path, kind=nib.Nifti1Image) -> nib.Nifti1Image:
    """Return an opened int16 image with scaling, differing qform and sform, units and a note."""
    affine = make_affine("LPS")
    image = kind((make_data() * 1000).astype(np.int16), affine)
    image.header.set_slope_inter(0.5, 3)
    image.set_sform(affine, 2)
    image.set_qform(make_affine("LPS", degrees=(0, 0, 3)), 1)
    image.header.set_xyzt_units("micron", "msec")
    image.header["descrip"] = b"a note"
    image.header["cal_max"] = 900
    nib.save(image, tmp_path / "like.nii.gz")
    return nib.load(tmp_path / "like.nii.gz")


def _saved(tmp_path: Path, data: np.ndarray, like, name: str = "out.nii.gz") -> nib.Nifti1Image:
    path = tmp_path / name
    path.write_bytes(writing.image_bytes(writing.make_image(data, like=like), path))
    return nib.load(path)


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_voxels_are_stored_as_given_without_scaling(tmp_path, name, dtype):
    data = (make_data() * 200).astype(dtype)
    saved = _saved(tmp_path, data, _like(tmp_path), name)
    assert saved.get_data_dtype() == dtype
    assert (saved.dataobj.slope, saved.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), data)


def test_scaling_of_an_image_in_memory_is_not_taken_over(tmp_path):
    like = nib.Nifti1Image(make_data(), make_affine())
    like.header.set_slope_inter(0.5, 3)
    saved = _saved(tmp_path, LABELS, like)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), LABELS)


def test_the_name_decides_the_compression(tmp_path):
    image = writing.make_image(LABELS, like=_like(tmp_path))
    compressed = writing.image_bytes(image, Path("x.nii.gz"))
    assert gzip.decompress(compressed) == writing.image_bytes(image, Path("x.nii"))


def test_equal_images_give_equal_bytes(tmp_path):
    like = _like(tmp_path)
    made = [
        writing.image_bytes(writing.make_image(LABELS, like=like), Path("x.nii.gz")) for _ in "ab"
    ]
    assert made[0] == made[1]


def test_grid_codes_and_units_are_the_inputs(tmp_path):
    like = _like(tmp_path)
    saved = _saved(tmp_path, LABELS, like)
    np.testing.assert_array_equal(saved.affine, like.affine)
    for form in ("qform", "sform"):
        matrix, code = getattr(saved.header, f"get_{form}")(coded=True)
        expected, expected_code = getattr(like.header, f"get_{form}")(coded=True)
        np.testing.assert_array_equal(matrix, expected)
        assert code == expected_code
    assert saved.header.get_xyzt_units() == ("micron", "msec")
    assert saved.header["cal_max"] == 0
    np.testing.assert_array_equal(saved.header["pixdim"][:4], like.header["pixdim"][:4])


@pytest.mark.parametrize(("qform", "sform"), [(0, 0), (1, 0), (0, 2), (4, 3)])
def test_codes_stay_what_they_were(tmp_path, qform, sform):
    image = nib.Nifti1Image(make_data(), None)
    affine = make_affine("LPS")
    if qform:
        image.set_qform(affine, qform)
    if sform:
        image.set_sform(affine, sform)
    nib.save(image, tmp_path / "like.nii")
    like = nib.load(tmp_path / "like.nii")
    saved = _saved(tmp_path, LABELS, like)
    assert (int(saved.header["qform_code"]), int(saved.header["sform_code"])) == (qform, sform)
    np.testing.assert_array_equal(saved.affine, like.affine)


@pytest.mark.parametrize(
    ("kind", "size"), [(nib.Nifti1Image, 348), (nib.Nifti2Image, 540)], ids=["nifti1", "nifti2"]
)
def test_the_nifti_version_is_the_inputs(tmp_path, kind, size):
    saved = _saved(tmp_path, LABELS, _like(tmp_path, kind))
    assert saved.header["sizeof_hdr"] == size
    np.testing.assert_array_equal(np.asarray(saved.dataobj), LABELS)


def test_a_header_and_image_pair_gives_a_single_file(tmp_path):
    nib.save(nib.Nifti1Pair(make_data(), make_affine("LPS")), tmp_path / "like.img")
    saved = _saved(tmp_path, LABELS, reading.load_image(tmp_path / "like.hdr"))
    assert saved.header["magic"] == b"n+1"
    np.testing.assert_array_equal(np.asarray(saved.dataobj), LABELS)


def test_an_image_of_another_format_gives_nifti_on_its_grid(tmp_path):
    like = nib.MGHImage(make_data(), make_affine("LPS").astype(np.float32))
    saved = _saved(tmp_path, LABELS, like)
    np.testing.assert_allclose(saved.affine, like.affine, atol=1e-5)


def test_big_endian_input_is_read_and_answered(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(make_data().astype(">f4"), make_affine("LPS"), header)
    nib.save(image, tmp_path / "big.nii")
    like = reading.load_image(tmp_path / "big.nii")
    np.testing.assert_array_equal(reading.read_volume([like], ["big"]).data[0], make_data())
    np.testing.assert_array_equal(np.asarray(_saved(tmp_path, LABELS, like).dataobj), LABELS)


def test_scaling_of_the_input_is_applied(tmp_path):
    like = _like(tmp_path)
    volume = reading.read_volume([like], ["like"])
    stored = (make_data() * 1000).astype(np.int16)
    np.testing.assert_array_equal(volume.data[0], stored * np.float32(0.5) + 3)


def test_spacing_is_the_headers_where_it_agrees_with_the_affine(tmp_path):
    image = nib.Nifti1Image(make_data(), np.diag([0.5, 0.5, 2, 1]))
    image.set_sform(np.diag([0.50000012, 0.5, 2, 1]), 1)
    assert reading.read_volume([image], ["image"]).spacing == (0.5, 0.5, 2.0)


def test_spacing_is_the_affines_where_the_header_contradicts_it():
    image = nib.Nifti1Image(make_data(), np.diag([0.5, 0.5, 2, 1]))
    image.header["pixdim"][1:4] = 1
    image.header.set_sform(np.diag([0.5, 0.5, 2, 1]), 1)
    assert reading.read_volume([image], ["image"]).spacing == (0.5, 0.5, 2.0)


def test_a_fourth_axis_of_one_volume_counts_as_3d(tmp_path):
    image = nib.Nifti1Image(make_data()[..., None], make_affine())
    volume = reading.read_volume([image], ["image"])
    np.testing.assert_array_equal(volume.data[0], make_data())
    saved = _saved(tmp_path, LABELS, image)
    assert saved.shape == LABELS.shape


def test_channels_are_stacked_in_order():
    images = [nib.Nifti1Image(make_data(seed=seed), make_affine()) for seed in (1, 2)]
    volume = reading.read_volume(images, ["a", "b"])
    np.testing.assert_array_equal(volume.data, [make_data(seed=1), make_data(seed=2)])


def test_affines_that_differ_by_rounding_are_one_grid():
    images = [nib.Nifti1Image(make_data(), make_affine() + d) for d in (0, 1e-4)]
    assert reading.read_volume(images, ["a", "b"]).data.shape[0] == 2


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float16, np.float64, bool])
def test_every_real_type_is_taken(dtype):
    array = np.ones((2, 2, 2), dtype)
    np.testing.assert_array_equal(check_array(array, "array"), np.ones((2, 2, 2), np.float32))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "NaN or infinite in 1 of its voxels"),
        (-np.inf, "NaN or infinite in 1 of its voxels"),
        (1e300, "NaN or infinite in 1 of its voxels"),
    ],
    ids=["nan", "infinite", "beyond-float32"],
)
def test_voxels_that_are_not_finite_are_counted(value, message):
    array = np.ones((2, 3, 4))
    array[1, 2, 3] = value
    with pytest.raises(ImageError, match=message):
        check_array(array, "array")


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("a/t2.nii.gz", "t2"),
        ("t2.nii", "t2"),
        ("t2.v1.nii.gz", "t2.v1"),
        ("t2.mgz", "t2.mgz"),
        ("t2.nii.gz.nii", "t2.nii.gz"),
    ],
)
def test_stem_takes_off_the_extension(name, base):
    assert names.stem(Path(name)) == base


def test_a_new_image_has_scanner_coordinates_in_mm():
    image = writing.new_image(make_data(), make_affine("LAS"))
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_reading_does_not_change_the_image_object():
    image = nib.Nifti1Image(make_data(), make_affine())
    before = bytes(image.header.binaryblock)
    reading.read_volume([image], ["image"])
    writing.make_image(LABELS, like=image)
    assert bytes(image.header.binaryblock) == before


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_checksum_of_a_compressed_file_is_checked(tmp_path, kind):
    path = tmp_path / "t2.nii.gz"
    nib.save(kind(make_data(), make_affine()), path)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # CRC-32 of the content
    path.write_bytes(data)
    with pytest.raises(ImageError, match="truncated or damaged"):
        reading.read_volume([reading.load_image(path)], ["t2"])


def test_images_on_disk_are_read_as_stored(tmp_path):
    path = write_image(tmp_path / "t2.nii.gz", make_data(), make_affine("LPS"))
    volume = reading.read_volume([reading.load_image(str(path))], [str(path)])
    np.testing.assert_array_equal(volume.data[0], make_data())
    np.testing.assert_allclose(volume.affine, make_affine("LPS"), atol=1e-5)
