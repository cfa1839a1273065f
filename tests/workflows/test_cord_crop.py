"""Models of cropped images: the box, what the user says about it, and the record of it."""

from __future__ import annotations

import json
import socket

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, voxels, write_bundle, write_image
from helpers.datasets import make_dataset
from helpers.detector import write_detector

import deepseg_lite
from deepseg_lite.api.images import read_images
from deepseg_lite.errors import BundleNotFoundError, ImageError, OptionError
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.steps.box import FACES
from deepseg_lite.store.cache import bundle_directory

NONE = dict.fromkeys(("superior", "inferior", "left", "right", "anterior", "posterior"), 0)
CROP = {"detector": "sc_crop", "padding_mm": {**NONE, "left": 3.0, "inferior": 5.0}}
INSIDE = {"xmin": 3, "xmax": 14, "ymin": 2, "ymax": 15, "zmin": 1, "zmax": 10}
TRUTH = make_data() > 0.5


@pytest.fixture
def cropped(tmp_path):
    return write_bundle(tmp_path / "cropped", cord_crop=CROP)


@pytest.fixture
def detector():
    """Install a detector that finds something in the images of these tests."""
    return write_detector(bundle_directory("sc_crop"))


@pytest.fixture
def blind(detector):
    """Install a detector whose confidence is never enough."""
    manifest = json.loads((detector / "manifest.json").read_text())
    manifest["settings"]["confidence"] = 1.0
    (detector / "manifest.json").write_text(json.dumps(manifest))
    return detector


def _faces(**changes):
    return [word for face, n in {**INSIDE, **changes}.items() for word in (f"--box-{face}", n)]


def _inside(box):
    return tuple(slice(box[f"{axis}min"], box[f"{axis}max"] + 1) for axis in "xyz")


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("bids", "sub-01_label-cropbox_desc-T2w_mask"),
        ("neuropoly", "sub-01_T2w_label-cropbox_seg"),
        ("sct", "sub-01_T2w_cropbox"),
    ],
)
def test_a_batch_writes_the_box_and_knows_it(cropped, detector, tmp_path, layout, name):
    dataset, out = make_dataset(tmp_path / "data", "sub-01/anat/sub-01_T2w"), tmp_path / "out"
    how = {"device": "cpu", "threads": 1, "jobs": "here", "layout": layout}
    (first,) = deepseg_lite.batch(dataset, out, cropped, **how)
    mask = out / "sub-01" / "anat" / f"{name}.nii.gz"
    assert not mask.exists()
    (report,) = deepseg_lite.batch(dataset, out, cropped, cropbox=True, **how)
    assert (report["status"], report["was_done"]) == ("done", False)
    assert set(report["outputs"]) == {*first["outputs"], str(mask)}
    box = _inside(report["CordCrop"]["box"])
    assert voxels(mask).sum() == voxels(mask)[box].size
    (again,) = deepseg_lite.batch(dataset, out, cropped, cropbox=True, **how)
    assert again["was_done"]
    mask.write_bytes(b"changed")
    (changed,) = deepseg_lite.batch(dataset, out, cropped, cropbox=True, **how)
    assert "was changed" in changed["Error"]


def test_a_batch_refuses_the_box_of_a_model_without(tiny_bundle, tmp_path):
    dataset = make_dataset(tmp_path / "data", "sub-01/anat/sub-01_T2w")
    with pytest.raises(OptionError, match="leave `cropbox` out"):
        deepseg_lite.batch(dataset, tmp_path / "out", tiny_bundle, cropbox=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["t2.nii.gz", "int16.nii"])
def test_only_the_box_is_segmented_and_recorded(command, cropped, detector, tmp_path, name):
    data = make_data()
    data = (data * 1000).astype(np.int16) if name.startswith("int") else data
    path = write_image(tmp_path / name, data, make_affine("LPS"))
    outcome = command("run", cropped, "-i", path, "--cropbox", "--json", "-o", tmp_path / "out")
    (result,) = json.loads(outcome.out)["results"]
    assert outcome.code == 0, outcome.err
    crop = result["CordCrop"]
    assert (crop["found"], crop["given"]) == (True, [])
    assert set(crop["box"]) == set(FACES)
    mask = voxels(tmp_path / "out" / f"{name.partition('.')[0]}_cropbox.nii.gz")
    box = _inside(crop["box"])
    assert mask.sum() == mask[box].sum() == mask[box].size
    assert 0 < mask.sum() < mask.size
    labels = voxels(result["outputs"][0])
    assert not labels[mask == 0].any()
    assert labels.any()
    assert crop["truncated"]
    assert f"--box-{crop['truncated'][0]}" in outcome.err
    assert "crop" in result["Seconds"]


def test_the_padding_moves_the_faces_of_its_side(cropped, detector, tmp_path):
    """LPS: left is up axis x, inferior is down axis z; 3 mm at 0.7 are 5 voxels."""
    volume = write_image(tmp_path / "a.nii", make_data((40, 40, 30)), make_affine("LPS"))
    bare = write_bundle(tmp_path / "bare", cord_crop={**CROP, "padding_mm": NONE})
    boxes = []
    for bundle in (bare, cropped):
        segmenter = deepseg_lite.load(bundle, device="cpu", threads=1)
        image = nib.load(volume)
        given = read_images([image])
        boxes.append(segmenter.segment(given.volume, stored=given.stored).crop["box"])
    before, after = boxes
    assert after == before | {
        "xmax": min(39, before["xmax"] + 5),
        "zmin": max(0, before["zmin"] - 2),
    }
    assert after != before


def test_all_six_faces_need_no_detector(command, cropped, image_file):
    outcome = command("run", cropped, "-i", image_file, *_faces(), "--json")
    (result,) = json.loads(outcome.out)["results"]
    assert result["CordCrop"]["box"] == INSIDE
    assert (result["CordCrop"]["found"], result["CordCrop"]["given"]) == (None, list(FACES))
    expected = np.zeros_like(TRUTH)
    expected[_inside(INSIDE)] = TRUTH[_inside(INSIDE)]
    np.testing.assert_array_equal(voxels(result["outputs"][0]), expected)


def test_sct_spells_faces_with_one_dash(command, cropped, image_file):
    words = [str(word).replace("--box", "-box") for word in _faces()]
    outcome = command("run", cropped, "-i", image_file, *words, "--json")
    assert json.loads(outcome.out)["results"][0]["CordCrop"]["box"] == INSIDE


def test_one_face_replaces_the_one_found(command, cropped, detector, image_file):
    def box(*words):
        outcome = command("run", cropped, "-i", image_file, "--json", "--overwrite", *words)
        return json.loads(outcome.out)["results"][0]["CordCrop"]["box"]

    found = box()
    assert found["zmax"] != 7
    assert box("--box-zmax", 7) == {**found, "zmax": 7}


def test_without_a_cord_the_whole_image_is_segmented_and_said(command, cropped, blind, image_file):
    outcome = command("run", cropped, "-i", image_file, "--json")
    (result,) = json.loads(outcome.out)["results"]
    assert result["CordCrop"]["found"] is False
    assert "no spinal cord was found" in outcome.err
    assert [warning["code"] for warning in result["Warnings"]] == ["no-cord"]
    assert result["Warnings"][0]["file"] == image_file.name
    assert result["CordCrop"]["truncated"] == []
    np.testing.assert_array_equal(voxels(result["outputs"][0]), TRUTH)


def test_without_a_cord_some_faces_still_count(command, cropped, blind, image_file):
    outcome = command("run", cropped, "-i", image_file, "--box-zmin", 4, "--json")
    (result,) = json.loads(outcome.out)["results"]
    whole = {"xmin": 0, "xmax": 19, "ymin": 0, "ymax": 17, "zmin": 4, "zmax": 11}
    assert result["CordCrop"]["box"] == whole


def test_strict_makes_a_missing_cord_an_error(command, cropped, blind, image_file):
    outcome = command("run", cropped, "-i", image_file, "--strict-crop")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "no spinal cord was found" in outcome.err
    assert [file.name for file in image_file.parent.iterdir()] == [image_file.name]


def test_soft_results_stay_soft_in_the_whole_image(cropped, image_file):
    segment = deepseg_lite.load(cropped, device="cpu", threads=1)
    soft = np.asarray(segment(image_file, soft=True, box=INSIDE).dataobj)[..., 0]
    part = soft[_inside(INSIDE)]
    assert soft.shape == TRUTH.shape
    assert len(np.unique(part)) > 100
    assert (soft > 0).sum() == (part > 0).sum()


def test_arrays_are_cropped_as_files_are(cropped, detector, image_file):
    segment = deepseg_lite.load(cropped, device="cpu", threads=1)
    image = nib.load(image_file)
    array = segment(np.asarray(image.dataobj), affine=image.affine)
    np.testing.assert_array_equal(array, np.asarray(segment(image).dataobj))
    assert array.any()


def test_a_missing_detector_is_told_before_any_work(cropped, image_file, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)  # nor is the network asked
    segment = deepseg_lite.load(cropped, device="cpu", threads=1)
    with pytest.raises(BundleNotFoundError, match=r"or get it: deepseg-lite fetch sc_crop$"):
        segment(image_file)


@pytest.mark.parametrize(
    ("faces", "message"),
    [({"zmin": 9, "zmax": 3}, "zmin 9 above zmax 3"), ({"xmax": 20}, "voxels 0 to 19")],
)
def test_faces_that_leave_no_box_are_refused(cropped, image_file, faces, message):
    segment = deepseg_lite.load(cropped, device="cpu", threads=1)
    with pytest.raises(OptionError, match=message):
        segment(image_file, box={**INSIDE, **faces})


@pytest.mark.parametrize(
    "words", [["--box-zmin", 1], ["--strict-crop"], ["--cropbox"]], ids=lambda words: words[0]
)
def test_other_models_have_no_box(command, tiny_bundle, image_file, words):
    outcome = command("run", tiny_bundle, "-i", image_file, *words)
    assert outcome.code == 1
    assert "is not cropped around the cord" in outcome.err


def test_a_strict_call_in_python(cropped, blind, image_file):

    segmenter = deepseg_lite.load(cropped, device="cpu", threads=1)
    with pytest.raises(ImageError, match="no spinal cord"):
        segmenter.segment(read_images([image_file]).volume, make_settings(strict_crop=True))


def test_a_detector_is_no_model(command, detector, image_file):
    outcome = command("run", "sc_crop", "-i", image_file)
    assert outcome.code == 1
    assert "finds the cord for other tasks" in outcome.err
