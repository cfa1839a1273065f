"""Bad input: each one clear line on stderr, exit code 1, and nothing written."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import onnxruntime
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image

from deepseg_lite.nifti import reading

Arguments = list[object]
Maker = Callable[[Path], Arguments]
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def _listing(root: Path) -> dict[str, str | None]:
    """Return every path below a folder with the hash of what it holds."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else None
        for path in root.rglob("*")
    }


def _run(bundle: object, *images: object, to: object = None) -> Arguments:
    options = [part for image in images for part in ("-i", image)]
    return ["run", bundle, *options, *(["-o", to] if to else [])]


def _tiny(root: Path) -> Path:
    return write_bundle(root / "bundle")


def _with_image(data: np.ndarray, affine: np.ndarray | None = None, name: str = "t2.nii.gz"):
    """Segment an image of these voxels into a folder that does not exist."""

    def make(root: Path) -> Arguments:
        image = nib.Nifti1Image(data, make_affine() if affine is None else None)
        if affine is not None:  # as it is, without a qform made of it
            image.header.set_sform(affine, 1)
        nib.save(image, root / name)
        return _run(_tiny(root), root / name, to=root / "out")

    return make


def _with_bytes(change: Callable[[bytes], bytes], name: str = "t2.nii.gz"):
    """Segment a file whose bytes were changed."""

    def make(root: Path) -> Arguments:
        file = write_image(root / name, make_data())
        file.write_bytes(change(file.read_bytes()))
        return _run(_tiny(root), file, to=root / "out")

    return make


def _with_header(field: str, index: int | None, value: float | bytes):
    """Segment a .nii whose header has one field replaced, whatever nibabel thinks of it."""

    def change(data: bytes) -> bytes:
        header = nib.Nifti1Header(data[:348], check=False)
        if index is None:
            header[field] = value
        else:
            header[field][index] = value
        return header.binaryblock + data[348:]

    return _with_bytes(change, "t2.nii")


def _with_voxel(value: float):
    data = make_data()
    data[5, 6, 7] = value
    return _with_image(data)


def _with_images(*paths: str, bundle: Callable[[Path], Path] = _tiny):
    return lambda root: _run(bundle(root), *(root / path for path in paths), to=root / "out")


def _folder_as_image(root: Path) -> Arguments:
    (root / "images").mkdir()
    return _run(_tiny(root), root / "images")


def _other_format(root: Path) -> Arguments:
    nib.save(nib.MGHImage(make_data(), make_affine().astype("f4")), root / "t2.mgz")
    return _run(_tiny(root), root / "t2.mgz")


def _channels(*second: np.ndarray):
    """Segment two channels; the second has another shape or affine."""

    def make(root: Path) -> Arguments:
        first = write_image(root / "a.nii", make_data())
        images = [write_image(root / "b.nii", *second)] if second else []
        return _run(write_bundle(root / "bundle", "channels"), first, *images, to=root / "out")

    return make


def _too_many_channels(root: Path) -> Arguments:
    images = [write_image(root / name, make_data()) for name in ("a.nii", "b.nii")]
    return [*_run(_tiny(root), images[0]), "--case", *_run("", images[1])[2:], "-i", images[0]]


def _output(place: str):
    """Segment a good image to a place below a regular file."""

    def make(root: Path) -> Arguments:
        (root / "file").write_bytes(b"")
        return _run(_tiny(root), write_image(root / "t2.nii", make_data()), to=root / place)

    return make


def _with_bundle(change: Callable[[Path], object], kind: str = "threshold"):
    """Segment a good image with a bundle that was changed."""

    def make(root: Path) -> Arguments:
        bundle = write_bundle(root / "bundle", kind)
        change(bundle)
        return _run(bundle, write_image(root / "t2.nii", make_data()), to=root / "out")

    return make


def _with_model(name: str):
    """Segment a good image with a model that does not exist or is none."""

    def make(root: Path) -> Arguments:
        (root / "text.onnx").write_bytes(b"not an onnx file")
        (root / "empty").mkdir()
        model = root / name if (root / name).exists() else name
        return _run(model, write_image(root / "t2.nii", make_data()), to=root / "out")

    return make


def _with_option(*options: object, kind: str = "threshold", **changes: object):
    """Segment a good image with an option that does not fit."""

    def make(root: Path) -> Arguments:
        bundle = write_bundle(root / "bundle", kind, **changes)
        return [*_run(bundle, write_image(root / "t2.nii", make_data()), to=root / "out"), *options]

    return make


def _flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def _seal_garbage(bundle: Path) -> None:
    """Put a file that is no network into a bundle, with the right hash and size."""
    network = bundle / "threshold_3d.onnx"
    old, new = network.read_bytes(), b"garbage"
    network.write_bytes(new)
    manifest = (bundle / "manifest.json").read_text()
    manifest = manifest.replace(hashlib.sha256(old).hexdigest(), hashlib.sha256(new).hexdigest())
    manifest = manifest.replace(f'"size": {len(old)}', f'"size": {len(new)}')
    (bundle / "manifest.json").write_text(manifest)


def _edit(bundle: Path, old: str, new: str) -> None:
    manifest = (bundle / "manifest.json").read_text()
    assert old in manifest
    (bundle / "manifest.json").write_text(manifest.replace(old, new))


PARALLEL = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
SINGULAR = np.diag([1.0, 1.0, 0.0, 1.0])
MOVED = make_affine()
MOVED[0, 3] += 3

CASES: dict[str, tuple[Maker, str]] = {
    # the image file
    "missing": (_with_images("nowhere.nii.gz"), "does not exist"),
    "missing-folder": (_with_images("nowhere/t2.nii.gz"), "does not exist"),
    "below-a-file": (_with_images("bundle/manifest.json/t2.nii"), "cannot be opened"),
    "name-too-long": (_with_images("x" * 300 + ".nii"), "too long a name"),
    "folder": (_folder_as_image, "is a folder"),
    "empty-file": (_with_bytes(lambda data: b""), "is an empty file"),
    "text": (_with_bytes(lambda data: b"not an image" * 50), "is a text file"),
    "text-nii": (_with_bytes(lambda data: b"text" * 200, "t2.nii"), "is a text file"),
    "gzipped-text": (_with_bytes(lambda data: gzip.compress(b"text" * 200)), "is a text file"),
    "header-only": (_with_bytes(lambda data: data[:200], "t2.nii"), "ends within the header"),
    "gz-header-only": (_with_bytes(lambda data: data[:12]), "truncated or damaged"),
    "truncated-gz": (_with_bytes(lambda data: data[: len(data) // 2]), "truncated or damaged"),
    "truncated-gz-end": (_with_bytes(lambda data: data[:-4]), "truncated or damaged"),
    "truncated-nii": (_with_bytes(lambda data: data[:-1], "t2.nii"), "is truncated: it holds"),
    "damaged-gz": (
        _with_bytes(lambda data: data[:3000] + bytes(100) + data[3100:]),
        "truncated or damaged",
    ),
    "another-format": (_other_format, "convert it with mri_convert"),
    "unknown-datatype": (_with_header("datatype", None, 7), "datatype is 7"),
    # the image's shape and voxels
    "4-D": (_with_image(np.ones((6, 6, 6, 3), "f4")), r"has 4 dimensions (6, 6, 6, 3)"),
    "1-D": (_with_image(np.ones(6, "f4")), "dim is [1, 6"),
    "5-D": (_with_image(np.ones((6, 6, 6, 1, 3), "f4")), "has 5 dimensions"),
    "zero-size": (_with_image(np.ones((6, 0, 6), "f4"), name="t2.nii"), "has no voxels"),
    "all-zero": (_with_image(np.zeros((6, 6, 6), "f4")), "nothing but zeros"),
    "nan": (_with_voxel(np.nan), "NaN or infinite in 1 of its voxels"),
    "infinite": (_with_voxel(-np.inf), "NaN or infinite in 1 of its voxels"),
    "beyond-float32": (
        _with_image(np.full((6, 6, 6), 1e300)),
        "NaN or infinite in 216 of its voxels",
    ),
    "complex": (_with_image(np.ones((6, 6, 6), "c8")), "holds complex64 voxels"),
    "rgb": (_with_image(np.zeros((6, 6, 6), RGB)), "real numbers are needed"),
    "singular": (_with_image(make_data(), SINGULAR), "cannot be inverted"),
    "parallel-axes": (_with_image(make_data(), PARALLEL), "cannot be inverted"),
    "affine-nan": (_with_header("srow_x", 0, np.nan), "cannot be inverted"),
    # channels
    "channel-missing": (_channels(), "1 images were given; tiny_channels needs 2"),
    "channel-too-many": (_too_many_channels, "2 images were given for case 2; tiny_threshold"),
    "channel-shape": (_channels(make_data((6, 6, 6))), "must be on one grid. Resample"),
    "channel-affine": (_channels(make_data(), MOVED), "lie differently in space"),
    # the output
    "output-below-a-file": (_output("file/out"), "file is not a folder"),
    "output-file-below-a-file": (_output("file/out.nii.gz"), "file is not a folder"),
    "output-folder-is-a-file": (_output("file"), "file is not a folder"),
    "output-name-too-long": (_output("x" * 300 + ".nii.gz"), "too long a name"),
    # the bundle
    "bundle-tampered": (
        _with_bundle(lambda bundle: _flip_byte(bundle / "threshold_3d.onnx")),
        "is corrupt or was changed",
    ),
    "bundle-tampered-fold": (
        _with_bundle(lambda bundle: _flip_byte(bundle / "threshold_3d_high.onnx"), "folds"),
        "is corrupt or was changed",
    ),
    "bundle-truncated": (
        _with_bundle(lambda bundle: os.truncate(bundle / "threshold_3d.onnx", 100)),
        "has 100 bytes, the manifest says 213",
    ),
    "bundle-incomplete": (
        _with_bundle(lambda bundle: (bundle / "threshold_3d.onnx").unlink()),
        "is missing",
    ),
    "bundle-garbage": (_with_bundle(_seal_garbage), "is not a readable ONNX network"),
    "bundle-not-json": (
        _with_bundle(lambda bundle: (bundle / "manifest.json").write_text("{")),
        "not JSON",
    ),
    "bundle-binary": (
        _with_bundle(lambda bundle: (bundle / "manifest.json").write_bytes(b"\xff\xff")),
        "cannot be read",
    ),
    "bundle-invalid": (
        _with_bundle(lambda bundle: _edit(bundle, '"overlap": 0.5', '"overlap": 5, "x": 1')),
        "'x' was unexpected",
    ),
    "bundle-escapes": (
        _with_bundle(lambda bundle: _edit(bundle, "threshold_3d.onnx", "../threshold_3d.onnx")),
        "networks[0].path",
    ),
    "bundle-key-with-line-break": (
        _with_bundle(lambda bundle: _edit(bundle, '"files": {}', '"files": {"a\\nb": 1}')),
        "has an invalid manifest",
    ),
    "bundle-newer": (
        _with_bundle(lambda bundle: _edit(bundle, '"schema": 1', '"schema": 2')),
        "schema is 2",
    ),
    "not-onnx": (_with_model("text.onnx"), "is not a readable .onnx file"),
    "empty-folder": (_with_model("empty"), "is not a bundle"),
    "unknown-task": (_with_model("sc_gm_t2sta"), "closest: sc_gm_t2star"),
    "unknown-path": (_with_model("no/such/bundle"), "neither a task nor the path of a bundle"),
    # options
    "fold": (_with_option("--folds", "9"), "no fold 9"),
    "step-nan": (_with_option("--step", "nan"), "step is nan"),
    "mirroring": (_with_option("--tta", mirror_axes=[]), "trained without mirroring"),
    "holes-in-probabilities": (_with_option("--soft", "--fill-holes"), "add --threshold"),
    "size-of-nothing": (_with_option("--remove-small", "5cm"), "'5cm' is not the size"),
    "mixed-units": (
        _with_option("--remove-small", "5mm3", "--remove-small", "5vox"),
        "mixes units",
    ),
    "too-many-sizes": (
        _with_option("--remove-small", "5", "--remove-small", "5"),
        "2 sizes of small objects were given; one is needed, or one for each of 1 files",
    ),
    "contrast": (_with_option("-c", "t2"), "does not tell contrasts apart"),
    "fold-or-folds": (_with_option("--single-fold", "--folds", "0"), "one of them is needed"),
    "release": (_with_option("--release", "r7"), "is release 1.0, not r7"),
}  # fmt: skip


@pytest.fixture
def refused(command, tmp_path, monkeypatch):
    """Check that a command line is refused as promised; return its one line."""
    monkeypatch.chdir(tmp_path)

    def check(arguments: Arguments) -> str:
        before = _listing(tmp_path)
        outcome = command(*arguments)
        assert outcome.code == 1, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("error: ")
        assert outcome.err.endswith(".\n")
        assert outcome.err.count("\n") == 1, outcome.err
        assert "Traceback" not in outcome.err
        assert _listing(tmp_path) == before
        return outcome.err

    return check


@pytest.mark.parametrize(("make", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_one_line_and_leaves_nothing(refused, tmp_path, make, message):
    assert message in refused(make(tmp_path))


@pytest.fixture
def good(tmp_path, tiny_bundle, image_file):
    """Return a command line that works."""
    return _run(tiny_bundle, image_file, to=tmp_path / "out")


def test_the_command_line_of_these_tests_works(command, good, tmp_path):
    assert command(*good).code == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_cuda_where_there_is_none(refused, good, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert '"deepseg-lite[gpu]"' in refused([*good, "--device", "cuda"])


def test_folder_that_is_not_writable(refused, good, monkeypatch, tmp_path):
    """Root may write everywhere, so the answer of the system is replaced."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert "is not writable" in refused(good)


def _fail_with(code: int):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get
)
def test_file_that_cannot_be_made(refused, good, monkeypatch, tmp_path, code):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "mkdir", _fail_with(code))
    assert os.strerror(code) in refused(good)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_disk_that_is_full(refused, good, monkeypatch, tmp_path):
    (tmp_path / "out").mkdir()

    real = Path.open

    def opened(path, mode="r", **given):
        return open("/dev/full", "wb") if mode == "xb" else real(path, mode, **given)

    monkeypatch.setattr(Path, "open", opened)
    assert "No space left on device" in refused(good)


def test_disk_that_is_full_when_files_get_their_names(refused, good, monkeypatch, tmp_path):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "link", _fail_with(errno.ENOSPC))
    monkeypatch.setattr(Path, "rename", _fail_with(errno.ENOSPC))
    assert "No space left on device" in refused(good)


def test_image_that_may_not_be_read(refused, good, monkeypatch):
    monkeypatch.setattr(reading, "Stream", _fail_with(errno.EACCES))
    assert "permission denied" in refused(good)
