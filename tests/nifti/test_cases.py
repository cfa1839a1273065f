"""Odd images of public reports: what is read of each, and what is said (faults 3, 5, 12, 27)."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data

from deepseg_lite.errors import ImageError
from deepseg_lite.nifti.geometry import read_geometry
from deepseg_lite.nifti.names import is_image_name, is_nifti_name, pair, stem
from deepseg_lite.nifti.reading import load_image, read_case
from deepseg_lite.nifti.streams import Stream
from deepseg_lite.nifti.writing import image_bytes, make_image
from deepseg_lite.notice import Notice

DATA = (make_data() * 1000).astype(np.int16)
AFFINE = make_affine("LPS")


def base() -> nib.Nifti1Image:
    image = nib.Nifti1Image(DATA, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm", "sec")
    return image


def saved(path: Path, image: nib.Nifti1Image, **fields) -> Path:
    """Write an image whose header has other fields, whatever nibabel thinks of them."""
    data = bytearray(image_bytes(image, Path("x.nii")))
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    data[:348] = header.binaryblock
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path):
    """Return the volume and the codes of what was said."""
    notices: list[Notice] = []
    image = load_image(path, notices.append)
    volume, _ = read_case([image], [str(path)], notices.append)
    assert all(notice.file == str(path) for notice in notices)
    assert all(notice.text.endswith(".") and notice.text.isprintable() for notice in notices)
    return volume, [notice.code for notice in notices]


def test_a_plain_image_is_read_without_a_word(tmp_path):
    volume, codes = read(saved(tmp_path / "a.nii.gz", base()))
    np.testing.assert_array_equal(volume.data[0], DATA)
    assert codes == []


@pytest.mark.parametrize(("unit", "factor"), [(1, 0.001), (3, 1000.0)], ids=["metre", "micron"])
def test_units_are_read(tmp_path, unit, factor):
    """Fault 3: the same geometry in another unit is the same volume in mm."""
    affine = AFFINE.copy()
    affine[:3] *= factor
    image = nib.Nifti1Image(DATA, affine)
    volume, codes = read(saved(tmp_path / "a.nii", image, xyzt_units=unit))
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5, atol=1e-4)
    assert codes == ["unit"]


@pytest.mark.parametrize("unit", [1, 3, 5])
def test_a_unit_that_cannot_be_is_not_believed(tmp_path, unit):
    """Fault 3: millimetres that are called micrometres would fill the memory."""
    volume, codes = read(saved(tmp_path / "a.nii", base(), xyzt_units=unit))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert codes == ["unit"]


def test_no_orientation_is_said(tmp_path):
    """Fault 3."""
    path = saved(tmp_path / "a.nii", base(), qform_code=0, sform_code=0)
    assert read(path)[1] == ["no-orientation"]
    path = saved(tmp_path / "b.nii", base(), qform_code=0, sform_code=0, pixdim=[0.0] * 8)
    volume, codes = read(path)
    assert codes == ["voxel-size-missing", "no-orientation"]
    assert volume.spacing == (1, 1, 1)


def test_a_pixdim_that_is_nan_does_not_get_into_a_result(tmp_path):
    """Fault 3: the header of the mask agrees with its affine."""
    pixdim = [1.0, np.nan, 0.5, 2.0, 1, 1, 1, 1]
    path = saved(tmp_path / "a.nii", base(), pixdim=pixdim)
    volume, codes = read(path)
    assert codes == ["voxel-size-missing"]
    mask = make_image(np.ones(DATA.shape, np.uint8), load_image(path, lambda _: None))
    np.testing.assert_allclose(mask.header.get_zooms(), volume.spacing, rtol=1e-5)
    np.testing.assert_allclose(mask.header.get_qform(), AFFINE, atol=1e-4)
    np.testing.assert_array_equal(mask.header.get_sform(), mask.affine)


@pytest.mark.parametrize("mirrored", [False, True])
def test_forms_that_differ_are_said(tmp_path, mirrored):
    """Fault 3: which one was believed, and by how much they differ."""
    image = base()
    turn = np.diag([-1, 1, 1, 1.0]) if mirrored else make_affine("LPS", degrees=(0, 0, 15))
    image.set_qform(AFFINE @ turn if mirrored else turn, 1)
    notices: list[Notice] = []
    geometry = read_geometry(image, "a")
    notices = list(geometry.notices)
    assert [notice.code for notice in notices] == ["forms-differ"]
    assert notices[0].figures["mirrored"] is mirrored
    assert notices[0].figures["displacement_mm"] > 1
    np.testing.assert_allclose(geometry.affine, AFFINE, atol=1e-5)


def test_a_sheared_voxel_has_the_volume_of_its_determinant(tmp_path):
    """Fault 3."""
    sheared = AFFINE.copy()
    sheared[:3, :3] = sheared[:3, :3] @ np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]])
    image = nib.Nifti1Image(DATA, None)
    image.header.set_sform(sheared, 1)
    image = nib.Nifti1Image(DATA, sheared, image.header)
    volume, codes = read(saved(tmp_path / "a.nii", image))
    assert "sheared" in codes
    assert volume.voxel_mm3 == pytest.approx(abs(np.linalg.det(AFFINE[:3, :3])), rel=1e-5)


def test_a_quaternion_that_is_too_long_is_shortened(tmp_path):
    """Fault 3: as SimpleITK does; without a sform it is all there is."""
    fields = dict(zip(("quatern_b", "quatern_c", "quatern_d"), (0.8, 0.61, 0.01), strict=True))
    volume, codes = read(saved(tmp_path / "a.nii", base(), sform_code=0, **fields))
    assert codes == ["qform"]
    b, c, d = np.array([0.8, 0.61, 0.01]) / np.linalg.norm([0.8, 0.61, 0.01])
    expected = [2 * b * b - 1, 2 * b * c, 2 * b * d]  # first column of the rotation, a = 0
    np.testing.assert_allclose(volume.affine[:3, 0] / volume.spacing[0], expected, atol=1e-5)


@pytest.mark.parametrize("scale", [0.001, 100.0])
def test_voxel_sizes_that_no_scanner_has_are_said(tmp_path, scale):
    """Fault 3."""
    affine = AFFINE.copy()
    affine[:3, :3] *= scale
    assert "voxel-size" in read(saved(tmp_path / "a.nii", nib.Nifti1Image(DATA, affine)))[1]


FIELDS = {
    "scl_inter": ({"scl_slope": 1.0, "scl_inter": np.nan}, "scl_inter is nan"),
    "vox_offset-inf": ({"vox_offset": np.inf}, "vox_offset is inf"),
    "vox_offset-nan": ({"vox_offset": np.nan}, "vox_offset is nan"),
    "vox_offset-within": ({"vox_offset": 100}, "vox_offset is 100"),
    "vox_offset-huge": ({"vox_offset": 1e30}, "vox_offset is 1.0"),
    "dim-negative": ({"dim": [3, -1, 4, 4, 1, 1, 1, 1]}, "dim is [3, -1, 4, 4"),
    "dim-count": ({"dim": [9, 4, 4, 4, 1, 1, 1, 1]}, "dim is [9, 4"),
    "dim-huge": ({"dim": [5, 32767, 32767, 32767, 32767, 32767, 1, 1]}, "no shape of an image"),
    "dim-large": ({"dim": [3, 32767, 32767, 900, 1, 1, 1, 1]}, "is truncated"),
    "datatype": ({"datatype": 7}, "datatype is 7"),
    "datatype-binary": ({"datatype": 1}, "datatype is 1"),
    "datatype-none": ({"datatype": 0}, "datatype is 0"),
    "qform": ({"quatern_b": np.nan, "sform_code": 0}, "the qform is"),
    "pixdim": ({"pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1], "sform_code": 0}, "pixdim is [nan"),
    "sform": ({"srow_x": [0, 0, 0, 0]}, "cannot be inverted"),
    "magic": ({"magic": b"abc"}, "is an Analyze image"),
}


@pytest.mark.parametrize(("fields", "message"), FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_field_that_cannot_be_used_is_named(tmp_path, fields, message, name):
    """Fault 25: one line, whatever a header says; fault 16: no memory for what is not there."""
    with pytest.raises(ImageError) as caught:
        read(saved(tmp_path / name, base(), **fields))
    text = str(caught.value).replace(str(tmp_path), "")
    assert message in text
    assert len(text) < 300
    assert text.isprintable()


def test_an_offset_of_zero_is_told(tmp_path):
    """Voxels begin after the header, not in it."""
    volume, codes = read(saved(tmp_path / "a.nii", base(), vox_offset=0))
    np.testing.assert_array_equal(volume.data[0], DATA)
    assert codes == ["vox-offset"]


@pytest.mark.parametrize("axes", [(1,), (1, 1), (1, 1, 1)])
def test_axes_of_one_count_for_nothing(tmp_path, axes):
    image = nib.Nifti1Image(DATA.reshape(*DATA.shape, *axes), AFFINE)
    volume, codes = read(saved(tmp_path / "a.nii", image))
    np.testing.assert_array_equal(volume.data[0], DATA)
    assert codes == []


def test_one_slice_is_a_volume(tmp_path):
    image = nib.Nifti1Image(DATA[..., 0], AFFINE)
    volume, codes = read(saved(tmp_path / "a.nii", image))
    np.testing.assert_array_equal(volume.data[0], DATA[..., :1])
    assert codes == ["one-slice"]


PACKED = {
    "a.nii.gz": gzip.compress,
    "a.NII.GZ": gzip.compress,
    "a.nii.bz2": bz2.compress,
    "several.nii.gz": lambda d: b"".join(
        gzip.compress(d[i : i + 500]) for i in range(0, len(d), 500)
    ),
    "padded.nii.gz": lambda d: gzip.compress(d) + bytes(100_000),
}


@pytest.mark.parametrize(("name", "pack"), PACKED.items(), ids=PACKED)
def test_every_way_to_compress_is_read_and_checked(tmp_path, name, pack):
    """Fault 5: the checksum is compared whatever the file is called; fault 15: members."""
    plain = image_bytes(base(), Path("x.nii"))
    packed = pack(plain)
    (tmp_path / name).write_bytes(packed)
    volume, codes = read(tmp_path / name)
    np.testing.assert_array_equal(volume.data[0], DATA)
    assert codes == []
    damaged = 0
    end = len(packed.rstrip(b"\0"))
    for place in range(0, end, max(1, end // 40)):
        changed = bytearray(packed)
        changed[place] ^= 0x10
        (tmp_path / name).write_bytes(changed)
        try:
            found = read(tmp_path / name)[0].data[0]
        except ImageError:
            damaged += 1
        else:  # a time or a name in a gzip header
            np.testing.assert_array_equal(found, DATA)
    assert damaged > 30
    (tmp_path / name).write_bytes(packed[: end - 3])
    with pytest.raises(ImageError, match="truncated"):
        read(tmp_path / name)


@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("A.HDR.GZ", "A.IMG.GZ")])
def test_pairs_are_read_and_checked(tmp_path, names):
    """Fault 5: the checksum of a pair; the result has the pair's stem."""
    single = image_bytes(base(), Path("x.nii"))
    header = bytearray(single[:348])
    header[108:112] = bytes(4)
    header[344:348] = b"ni1\0"
    packed = [gzip.compress(part) if "GZ" in names[0] else part for part in (header, single[352:])]
    for name, part in zip(names, packed, strict=True):
        (tmp_path / name).write_bytes(part)
    for name in names:
        volume, codes = read(tmp_path / name)
        np.testing.assert_array_equal(volume.data[0], DATA)
        assert codes == []
        assert stem(name).lower() == "a"
        assert {path.name for path in pair(tmp_path / name)} == set(names)
    if "GZ" in names[0]:
        changed = bytearray(packed[1])
        changed[400] ^= 1
        (tmp_path / names[1]).write_bytes(changed)
        with pytest.raises(ImageError, match="damaged"):
            read(tmp_path / names[0])


def test_what_follows_the_voxels_is_said(tmp_path):
    plain = image_bytes(base(), Path("x.nii"))
    files = {"a.nii": plain + b"junk", "b.nii.gz": gzip.compress(plain + b"junk")}
    files["c.nii.gz"] = gzip.compress(plain) + b"junk"
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        volume, codes = read(tmp_path / name)
        np.testing.assert_array_equal(volume.data[0], DATA)
        assert codes == ["bytes-left"]


def test_a_name_that_is_wrong_about_compression_is_said(tmp_path):
    plain = image_bytes(base(), Path("x.nii"))
    (tmp_path / "a.nii.gz").write_bytes(plain)
    (tmp_path / "b.nii").write_bytes(gzip.compress(plain))
    for name in ("a.nii.gz", "b.nii"):
        volume, codes = read(tmp_path / name)
        np.testing.assert_array_equal(volume.data[0], DATA)
        assert codes == ["name"]


CONTENTS = {
    "annex": (b"/annex/objects/MD5E-s80524--01.nii.gz\n", "datalad get"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "twice": (gzip.compress(gzip.compress(b"x" * 500)), "compressed twice"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "dicom": (bytes(128) + b"DICM" + bytes(400), "dcm2niix"),
    "nrrd": (b"NRRD0004\ntype: short\n", "NRRD"),
    "mgz": (gzip.compress(b"\0\0\0\1" + bytes(500)), "mri_convert"),
    "hdf": (b"\x89HDF\r\n\x1a\n" + bytes(500), "HDF5"),
    "zip": (b"PK\3\4" + bytes(500), "zip archive"),
    "json": (b'{"EchoTime": 1}', "JSON"),
    "text": (b"not an image" * 50, "text file"),
    "bytes": (bytes(range(256)) * 4, "no NIfTI file"),
}


@pytest.mark.parametrize(("data", "message"), CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_image_is_named_with_the_tool_that_helps(tmp_path, data, message):
    """Fault 27."""
    (tmp_path / "a.nii.gz").write_bytes(data)
    with pytest.raises(ImageError, match=message):
        load_image(tmp_path / "a.nii.gz")


def test_paths_without_an_image_are_named_as_what_they_are(tmp_path):
    """Fault 27: links, folders, pipes."""
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "1").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "annexed.nii").symlink_to(".git/annex/objects/Xx/SHA256-s1.nii")
    (tmp_path / "dangling.nii").symlink_to("nowhere.nii")
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    for name, message in {
        "dicom": "dcm2niix",
        "annexed.nii": "datalad get",
        "dangling.nii": "a link to a file that does not exist",
        "loop.nii": "symbolic links",
        "pipe.nii": "no regular file",
        "missing.nii": "does not exist",
        "a\0b.nii": "null",
    }.items():
        with pytest.raises(ImageError, match=message):
            load_image(tmp_path / name)


def test_no_more_is_inflated_than_a_header_tells_of(tmp_path):
    """Fault 15: 2 MB that hold 2 GB; a bomb is refused after a megabyte."""
    plain = image_bytes(base(), Path("x.nii"))
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([packer.compress(plain), *(packer.compress(bytes(1 << 20)) for _ in range(64))])
    (tmp_path / "a.nii.gz").write_bytes(bomb + packer.flush())
    inflated = []
    read_piece = Stream._next

    def counted(stream, at_most):
        piece = read_piece(stream, at_most)
        inflated.append(len(piece))
        return piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "_next", counted)
        with pytest.raises(ImageError, match="far more than the voxels"):
            read(tmp_path / "a.nii.gz")
    assert sum(inflated) < len(plain) + (1 << 20) + (1 << 17)


def test_one_tolerance_in_mm_decides_whether_grids_are_one(tmp_path):
    """A shift of a tenth of a voxel is none; a shear that grows to a millimetre is one."""
    shifted, sheared = AFFINE.copy(), AFFINE.copy()
    shifted[0, 3] += 0.02
    sheared[0, 1] += 0.05
    first = nib.Nifti1Image(DATA, AFFINE)
    read_case([first, nib.Nifti1Image(DATA, shifted)], ["a", "b"], lambda _: None)
    with pytest.raises(ImageError, match=r"differently in space \(by up to 0\.8"):
        read_case([first, nib.Nifti1Image(DATA, sheared)], ["a", "b"], lambda _: None)


def test_another_order_of_axes_is_named(tmp_path):
    """Fault 30."""
    first = nib.Nifti1Image(DATA, AFFINE)
    turned = first.as_reoriented(nib.orientations.axcodes2ornt(("S", "P", "L")))
    with pytest.raises(ImageError, match=r"another order of axes than a \(.*Reorient it to LPS"):
        read_case([first, turned], ["a", "b"], lambda _: None)


def test_nothing_private_gets_into_a_result(tmp_path):
    """Fault 12: markers in every text field and extension, looked for in every byte."""
    image = base()
    texts = [
        *("descrip", "aux_file", "db_name", "data_type", "intent_name"),
    ]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    path = saved(tmp_path / "a.nii", image)
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for field in texts:
        header[field] = b"DOE^JANE"[: header[field].dtype.itemsize]
    data[:348] = header.binaryblock
    path.write_bytes(data)
    assert bytes(data).count(b"DOE") >= 6
    for like in (load_image(path, lambda _: None), nib.load(path)):
        result = image_bytes(make_image(np.ones(DATA.shape, np.uint8), like), Path("x.nii"))
        assert b"DOE" not in result
        np.testing.assert_array_equal(nib.Nifti1Image.from_bytes(result).affine, like.affine)


def test_names_are_one_idea():
    """Fault 5."""
    assert stem("c_pair.img") == "c_pair"
    assert stem("n_UPPER.NII.GZ") == "n_UPPER"
    assert is_nifti_name("a.NII")
    assert is_image_name("a.img.gz")
    assert not is_image_name("a.hdr")
    assert pair(Path("a.nii.gz")) is None
