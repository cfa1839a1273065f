"""Cases: what is written where, and the record beside it."""

from __future__ import annotations

import hashlib
import json
import weakref
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, voxels, write_bundle, write_image

import deepseg_lite
from deepseg_lite.api import cases, runs
from deepseg_lite.api.case import Case
from deepseg_lite.api.cases import FileRun, name_outputs, run_case
from deepseg_lite.api.phantom_files import write_phantom
from deepseg_lite.engines.onnxruntime_network import OnnxNetwork
from deepseg_lite.errors import (
    BundleNotFoundError,
    Cancelled,
    CaseError,
    DeepsegError,
    ImageError,
    OptionError,
    OutOfMemoryError,
    OutputError,
    ProviderError,
)
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.watch import Watch

SOFT = make_settings(soft=True)


@pytest.fixture
def segmenter(tiny_bundle):
    return deepseg_lite.load(tiny_bundle, device="cpu", threads=1)


@pytest.fixture
def regions(tmp_path):
    return deepseg_lite.load(write_bundle(tmp_path / "regions", "regions"), device="cpu", threads=1)


def _names(cases: list[Case]) -> list[str]:
    return [str(file) for case in cases for file in case.written]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, ["in/a_seg.nii.gz", "in/a_seg.json"]),
        ("x.nii", ["x.nii", "x.json"]),
        ("x.nii.gz", ["x.nii.gz", "x.json"]),
        ("out", ["out/a_seg.nii.gz", "out/a_seg.json"]),
        ("out/deep", ["out/deep/a_seg.nii.gz", "out/deep/a_seg.json"]),
    ],
    ids=str,
)
def test_outputs_of_one_case(segmenter, tmp_path, monkeypatch, output, expected):
    monkeypatch.chdir(tmp_path)
    cases = name_outputs(segmenter, [[Path("in/a.nii.gz")]], output and Path(output))
    assert _names(cases) == expected


def test_every_case_is_named_after_its_own_first_image(segmenter):
    cases = name_outputs(segmenter, [[Path("a.nii")], [Path("b.nii.gz")]], None)
    assert _names(cases) == ["a_seg.nii.gz", "a_seg.json", "b_seg.nii.gz", "b_seg.json"]


def test_soft_writes_one_map_per_label_each_with_its_record(regions):
    (case,) = name_outputs(regions, [[Path("a.nii")]], None, SOFT)
    assert _names([case]) == [
        "a_cord_softseg.nii.gz",
        "a_gray-matter_softseg.nii.gz",
        "a_cord_softseg.json",
        "a_gray-matter_softseg.json",
    ]


@pytest.mark.parametrize("output", ["x.nii", "y/x.nii.gz"])
def test_the_name_of_one_file_begins_those_of_several(regions, output):
    (case,) = name_outputs(regions, [[Path("a.nii")]], Path(output), SOFT)
    name, dot, extension = output.partition(".")
    assert [str(path) for path in case.paths] == [
        f"{name}_cord_softseg{dot}{extension}",
        f"{name}_gray-matter_softseg{dot}{extension}",
    ]


def test_planning_makes_no_folder(segmenter, tmp_path):
    name_outputs(segmenter, [[Path("a.nii")]], tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_several_cases_do_not_fit_one_file(regions):
    with pytest.raises(OptionError, match=r"x\.nii is one file, but 2 cases will be written"):
        name_outputs(regions, [[Path("a.nii")], [Path("b.nii")]], Path("x.nii"))


@pytest.mark.parametrize(
    "images",
    [("p/a.nii", "q/a.nii"), ("a.nii", "a.nii.gz"), ("a.nii", "a.nii"), ("a.nii", "./a.nii")],
    ids=str,
)
def test_cases_that_would_write_the_same_file_are_refused(segmenter, tmp_path, images):
    with pytest.raises(OptionError, match=r"2 cases would be written to .*a_seg\.nii\.gz"):
        name_outputs(segmenter, [[Path(image)] for image in images], tmp_path / "out")


@pytest.mark.parametrize("alias", ["plain", "dotted", "link"])
def test_an_output_that_is_an_input_is_refused(segmenter, image_file, alias):
    output = image_file
    if alias == "dotted":
        output = image_file.parent / ".." / image_file.parent.name / image_file.name
    if alias == "link":
        output = image_file.with_name("link.nii.gz")
        output.symlink_to(image_file)
    with pytest.raises(OptionError, match="is an input and would be replaced"):
        name_outputs(segmenter, [[image_file]], output, overwrite=True)


def test_an_output_that_is_another_cases_input_is_refused(segmenter, tmp_path):
    images = [[tmp_path / "a.nii"], [tmp_path / "a_seg.nii.gz"]]
    with pytest.raises(OptionError, match=r"a_seg\.nii\.gz is an input"):
        name_outputs(segmenter, images, None, overwrite=True)


@pytest.mark.parametrize("name", ["a_seg.nii.gz", "a_seg.json"])
def test_existing_outputs_need_permission(segmenter, tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(OptionError, match=f"{name} exists; add `overwrite`"):
        name_outputs(segmenter, [[tmp_path / "a.nii"]], None)
    assert len(name_outputs(segmenter, [[tmp_path / "a.nii"]], None, overwrite=True)) == 1


def test_the_number_of_existing_outputs_is_told(segmenter, tmp_path):
    for name in ("a_seg.nii.gz", "a_seg.json"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(OptionError, match=r"\(and 1 more\) exists"):
        name_outputs(segmenter, [[tmp_path / "a.nii"]], None)


def test_a_wrong_number_of_channels_is_refused(segmenter):
    with pytest.raises(ImageError, match="2 images were given"):
        name_outputs(segmenter, [[Path("a.nii"), Path("b.nii")]], None)


def test_a_folder_below_a_file_is_refused(segmenter, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file is not a folder"):
        name_outputs(segmenter, [[Path("a.nii")]], tmp_path / "file" / "out")


def test_a_folder_without_permission_is_refused_before_any_work(segmenter, tmp_path, monkeypatch):
    """Root may write everywhere, so the answer of the system is replaced."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(OutputError, match="is not writable; give an output folder you may"):
        name_outputs(segmenter, [[Path("a.nii")]], tmp_path / "out")


def test_a_case_is_written_with_its_record(segmenter, image_file, tmp_path):
    (case,) = name_outputs(segmenter, [[image_file]], tmp_path / "out")
    report = run_case(segmenter, case, command=["run", "x"])
    output = tmp_path / "out" / "t2_seg.nii.gz"
    record = json.loads((tmp_path / "out" / "t2_seg.json").read_text())
    assert sorted(file.name for file in output.parent.iterdir()) == ["t2_seg.json", output.name]
    truth = make_data() > 0.5
    np.testing.assert_array_equal(voxels(output), truth)
    assert nib.load(output).get_data_dtype() == np.uint8

    assert report.items() >= record.items()
    assert report["images"] == [str(image_file)]
    assert report["outputs"] == [str(output)]
    assert report["sidecars"] == [str(path) for path in case.sidecars]
    assert record["SHA256"] == {output.name: hashlib.sha256(output.read_bytes()).hexdigest()}
    (maker,) = record["GeneratedBy"]
    made = datetime.strptime(maker.pop("Date"), "%Y-%m-%dT%H:%M:%S%z")
    assert abs(datetime.now(timezone.utc) - made) < timedelta(hours=1)
    assert maker == {
        "Name": "deepseg-lite",
        "Version": deepseg_lite.__version__,
        "CodeURL": f"pkg:pypi/deepseg-lite@{deepseg_lite.__version__}",
        "ModelURL": [],
        "Command": "deepseg-lite run x",
    }
    assert record["Sources"] == ["t2.nii.gz"]
    assert record["SpatialReference"] == "orig"
    assert record["Slices"] == {output.name: int(truth.any(axis=(0, 1)).sum())}
    assert record["Bundle"]["name"] == "tiny_threshold"
    assert record["Bundle"]["networks"] == {"0": segmenter.bundle.networks[0].sha256}
    assert record["Device"]["provider"] == "CPUExecutionProvider"
    assert record["Device"]["threads"] == 1
    assert record["Device"]["numpy"] == np.__version__
    assert record["Labels"] == {"cord": [1]}
    assert record["Volumes_mm3"]["cord"] == pytest.approx(truth.sum() * 0.7 * 1.1 * 2.5, rel=1e-4)
    assert set(record["Seconds"]) == {"load", "preprocess", "predict", "restore", "write"}


def test_volumes_of_regions_count_every_value_that_belongs(regions, image_file, tmp_path):
    (case,) = name_outputs(regions, [[image_file]], tmp_path)
    volumes = run_case(regions, case)["Volumes_mm3"]
    voxel = 0.7 * 1.1 * 2.5
    assert volumes["cord"] == pytest.approx((make_data() > 0.25).sum() * voxel, rel=1e-4)
    assert volumes["gray/matter"] == pytest.approx((make_data() > 0.75).sum() * voxel, rel=1e-4)


def test_soft_maps_are_float32_and_their_volume_is_their_sum(regions, image_file, tmp_path):
    (case,) = name_outputs(regions, [[image_file]], tmp_path, SOFT)
    report = run_case(regions, case, SOFT)
    for path, limit, volume in zip(
        report["outputs"], (0.25, 0.75), report["Volumes_mm3"].values(), strict=True
    ):
        image = nib.load(path)
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(voxels(path) > 0.5, make_data() > limit)
        total = voxels(path).sum(dtype=np.float64)
        assert volume == pytest.approx(total * 0.7 * 1.1 * 2.5, rel=1e-4)
    assert len(report["SHA256"]) == 2
    assert report["Settings"]["soft"] is True


def test_a_cancelled_case_writes_nothing(segmenter, image_file, tmp_path):
    (case,) = name_outputs(segmenter, [[image_file]], tmp_path / "out")
    with pytest.raises(Cancelled):
        run_case(segmenter, case, watch=Watch(cancel=lambda: True))
    assert not (tmp_path / "out").exists()


def test_a_dangling_link_is_an_existing_output(segmenter, tmp_path):
    """Fault 24: a result that git-annex dropped is one."""
    (tmp_path / "a_seg.nii.gz").symlink_to(tmp_path / "dropped")
    with pytest.raises(OptionError, match=r"a_seg\.nii\.gz exists; add `overwrite`"):
        name_outputs(segmenter, [[tmp_path / "a.nii"]], None)


def test_a_dangling_link_is_replaced_and_not_followed(segmenter, image_file, tmp_path):
    """Fault 24."""
    out = tmp_path / "t2_seg.nii.gz"
    out.symlink_to(tmp_path / "dropped")
    (case,) = name_outputs(segmenter, [[image_file]], tmp_path, overwrite=True)
    run_case(segmenter, case)
    assert out.is_file()
    assert not out.is_symlink()
    assert not (tmp_path / "dropped").exists()


def test_a_folder_in_the_place_of_an_output_is_refused(segmenter, tmp_path):
    (tmp_path / "a_seg.nii.gz").mkdir()
    with pytest.raises(OptionError, match="is a folder, not a file"):
        name_outputs(segmenter, [[tmp_path / "a.nii"]], None, overwrite=True)


@pytest.mark.parametrize("length", [243, 245, 249, 250])
def test_names_that_are_too_long_are_refused_before_any_work(
    segmenter, image_file, tmp_path, length
):
    """Fault 30: `_seg.nii.gz` is to fit, and `_seg.json`; 243 + 7 + 5 bytes are 255."""
    image = image_file.rename(image_file.with_name("x" * (length - 4) + ".nii"))
    with pytest.raises(OutputError, match="too long a name") if length > 248 else nullcontext():
        (case,) = name_outputs(segmenter, [[image]], tmp_path / "out")
        assert len(case.paths[0].name) == length + 7


def test_a_longest_name_is_written(segmenter, image_file, tmp_path):
    """Fault 30: working names are no longer than the final one."""
    output = tmp_path / ("x" * 248 + ".nii.gz")
    (case,) = name_outputs(segmenter, [[image_file]], output)
    run_case(segmenter, case)
    assert sorted(len(path.name) for path in tmp_path.iterdir() if "xx" in path.name) == [253, 255]


def test_an_output_that_came_meanwhile_stays(segmenter, image_file, tmp_path):
    """Fault 21: the whole case is given up."""
    (case,) = name_outputs(segmenter, [[image_file]], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "t2_seg.json").write_bytes(b"another's")
    with pytest.raises(OutputError, match=r"t2_seg\.json exists by now"):
        run_case(segmenter, case)
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"another's"]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (MemoryError(), OutOfMemoryError, r"t2\.nii\.gz: out of memory; give `max_ram`"),
        (ProviderError("bad_alloc."), ProviderError, r"t2\.nii\.gz: bad_alloc"),
        (ImageError("t2.nii.gz is odd."), ImageError, r"^t2\.nii\.gz is odd"),
        (TypeError("no\nnumber"), CaseError, r"t2\.nii\.gz: TypeError: no; this is a fault"),
        (Cancelled("stop."), Cancelled, r"^stop"),
        (BundleNotFoundError("none; get it"), BundleNotFoundError, r"none; get it$"),
    ],
)
@pytest.mark.parametrize(
    ("holder", "step"), [(cases, "load_image"), (runs, "read_case"), (cases, "image_bytes")]
)
def test_every_error_of_a_case_names_it(
    segmenter, image_file, tmp_path, monkeypatch, error, expected, message, holder, step
):
    """Fault 20."""

    def fail(*_: object, **__: object) -> None:
        raise error

    (case,) = name_outputs(segmenter, [[image_file]], tmp_path / "out")
    monkeypatch.setattr(holder, step, fail)
    with pytest.raises(expected, match=message) as caught:
        run_case(segmenter, case)
    assert isinstance(caught.value, DeepsegError)
    assert not (tmp_path / "out").exists()


def test_arrays_of_a_case_that_failed_are_let_go(segmenter, image_file, tmp_path, monkeypatch):
    """Fault 20: the next case needs the memory."""
    arrays = []

    def fail(network, batch):
        held = np.zeros(1000)
        arrays.append(weakref.ref(held))
        raise MemoryError

    (case,) = name_outputs(segmenter, [[image_file]], tmp_path / "out")
    monkeypatch.setattr(OnnxNetwork, "__call__", fail)
    run = FileRun(segmenter, case, make_settings())
    run.prepare()
    with pytest.raises(OutOfMemoryError) as caught:
        run.predict()
    assert caught.value.__cause__ is not None
    assert [array() for array in arrays] == [None]
    assert "_run" not in vars(run)


def test_a_phantom_and_its_labels_are_on_one_grid(tmp_path):
    paths = [tmp_path / "new" / "image.nii.gz", tmp_path / "labels.nii"]
    assert write_phantom(paths[0], 3, paths[1]) == paths
    image, labels = map(nib.load, paths)
    assert image.shape == labels.shape
    np.testing.assert_array_equal(image.affine, labels.affine)
    assert image.get_data_dtype() == np.float32
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(voxels(paths[0]), deepseg_lite.make_phantom(3).image)
    np.testing.assert_array_equal(voxels(paths[1]), deepseg_lite.make_phantom(3).labels)


@pytest.mark.parametrize(
    ("image", "labels", "error", "message"),
    [
        ("a.png", None, OptionError, r"a\.png must end in \.nii"),
        ("a.nii", "b.txt", OptionError, r"b\.txt must end in \.nii"),
        ("there.nii", None, OptionError, r"there\.nii exists; add `overwrite`"),
        ("a.nii", "a.nii", OptionError, r"cannot be both the image and its labels"),
        ("there.nii/a.nii", None, OutputError, r"cannot be made"),
    ],
    ids=["name", "labels-name", "exists", "same-name", "below-a-file"],
)
def test_a_phantom_that_cannot_be_written_is_refused(tmp_path, image, labels, error, message):
    write_image(tmp_path / "there.nii", make_data(), make_affine())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        write_phantom(tmp_path / image, 0, labels and tmp_path / labels)
    assert sorted(tmp_path.rglob("*")) == before
