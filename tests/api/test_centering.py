"""Models that look around the middle of an image: where else they look, and what is told."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, voxels, write_bundle, write_image
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

import deepseg_lite
from deepseg_lite.api.centering import middle_of
from deepseg_lite.errors import BundleNotFoundError, ImageError, OptionError
from deepseg_lite.store.cache import bundle_directory
from deepseg_lite.volume import Volume

AFFINE = make_affine("LAS", (1.0, 1.0, 3.0), (0.0, 0.0, 0.0))
BRIGHT = (slice(20, 24), slice(3, 6))
CHANGES = {
    "inputs": {
        "channel_names": ["t2star"],
        "orientation": None,
        "axes": "zxy",
        "training_orientation": "LAS",
    },
    "preprocessing": [
        {"step": "resize", "spacing": [None, 0.5, 0.5]},
        {"step": "field_of_view", "shape": [None, 16, 16], "mode": "symmetric", "value": 0.0},
    ],
    "mirror_axes": [],
    "sliding_window": {
        **{"patch_size": [1, 16, 16], "stride": [1, 16, 16]},
        **{"placement": "stride", "importance_map": "constant"},
    },
    "outputs": {
        **{"activation": "none", "values": "maps", "channels": 2, "regions_class_order": None},
        **{"threshold_at": "before_undo", "files": [{"suffix": "gmseg", "kind": "mask"}]},
        "labels": [{"name": "low", "values": [1]}, {"name": "high", "values": [2]}],
        "before_undo": [
            {"step": "binarize", "threshold": 0.0, "inclusive": False},
            {"step": "whole_numbers"},
        ],
    },
    "postprocessing": [{"step": "binarize", "threshold": 0.5, "inclusive": True}],
}


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "middle", "regions", **CHANGES)


@pytest.fixture
def image(tmp_path):
    data = np.full((28, 26, 4), 0.1, np.float32)
    data[BRIGHT] = 0.9
    data[12:15, 12:14, 1] = 0.9
    return write_image(tmp_path / "t2s.nii.gz", data, AFFINE)


@pytest.fixture
def mask(tmp_path):
    """Write a mask of the bright part, on a coarser grid that is turned."""
    affine = make_affine("PSR", (1.0, 1.5, 1.0), (0.0, 0.0, 0.0))
    bright = nib.affines.apply_affine(AFFINE, (21.5, 4.0, 1.5))
    affine[:3, 3] = bright - affine[:3, :3] @ (30, 20, 30)
    whole = np.stack(np.meshgrid(*map(np.arange, (60, 40, 60)), indexing="ij"), axis=-1)
    points = nib.affines.apply_affine(np.linalg.inv(AFFINE) @ affine, whole)
    x, y = points[..., 0], points[..., 1]
    inside = (x > 19.5) & (x < 23.5) & (y > 2.5) & (y < 5.5)
    return write_image(tmp_path / "mask.nii.gz", inside.astype(np.uint8), affine)


def _found(segment, image, **options):
    notices = []
    result = segment(image, notify=notices.append, **options)
    return np.asarray(result.dataobj)[..., 0], {notice.code: notice for notice in notices}


def test_without_a_center_the_middle_is_seen_and_empty_slices_are_told(bundle, image):
    found, notices = _found(deepseg_lite.load(bundle, device="cpu"), image)
    assert not found[BRIGHT].any()
    assert found[12:15, 12:14, 1].all()
    assert notices["slices-empty"].figures == {"slices": [0, 2, 3], "count": 4}
    assert "`center`" in notices["slices-empty"].text


def test_a_mask_moves_what_is_seen(bundle, image, mask):
    found, notices = _found(deepseg_lite.load(bundle, device="cpu"), image, center=str(mask))
    assert found[BRIGHT].all()
    assert found.dtype == np.uint8
    assert not found[12:15, 12:14].any()
    assert "slices-empty" not in notices


def test_another_model_moves_what_is_seen(tmp_path, bundle, image, command):
    other = write_bundle(tmp_path / "finder", "threshold")
    outcome = command("run", bundle, "-i", image, "--center-task", other, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    record = json.loads((image.parent / "t2s_gmseg.json").read_text())
    assert record["Settings"]["center_task"] == str(other)
    assert [each["name"] for each in record["Companions"]] == ["tiny_threshold"]
    assert len(record["Center_mm"]) == 3
    # The box around both bright parts: x 12 to 23, y 3 to 13.
    expected = nib.affines.apply_affine(AFFINE, (17.5, 8.0, 1.5))
    np.testing.assert_allclose(record["Center_mm"], expected, atol=1e-4)
    assert voxels(image.parent / "t2s_gmseg.nii.gz").any()


PLACE = {"L": 22 / 28, "A": 4.5 / 26}
"""The middle of the bright part, voxel 21.5 and 4 of an image that is stored as LAS."""


def _with_prior(tmp_path, **center):
    return write_bundle(
        tmp_path / "prior", "regions", **CHANGES, center={"source": "drawn", **center}
    )


@pytest.mark.parametrize("codes", ["LAS", "RPS", "ASL"])
def test_a_bundle_says_where_the_cord_is(tmp_path, image, codes):
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
    path = tmp_path / "turned.nii.gz"
    nib.save(nib.load(image).as_reoriented(turn), path)
    segment = deepseg_lite.load(_with_prior(tmp_path, position=PLACE), device="cpu")
    found = segment(path, reorient=True, center_prior=True)
    back = ornt_transform(axcodes2ornt(codes), io_orientation(AFFINE))
    data = np.asarray(found.as_reoriented(back).dataobj)[..., 0]
    assert data[BRIGHT].all()
    assert not data[12:15, 12:14].any()
    plain, _ = _found(segment, path, reorient=True)
    assert plain.any()
    assert not np.asarray(nib.Nifti1Image(plain, found.affine).as_reoriented(back).dataobj)[
        BRIGHT
    ].any()


def test_a_bundle_names_what_finds_the_cord(tmp_path, image, command):
    write_bundle(bundle_directory("finder"), "threshold", name="finder")
    bundle = _with_prior(tmp_path, task="finder", position=PLACE)
    outcome = command("run", bundle, "-i", image, "--center-prior", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    record = json.loads((image.parent / "t2s_gmseg.json").read_text())
    assert record["Settings"]["center_prior"] is True
    assert [each["name"] for each in record["Companions"]] == ["finder"]
    # The box around both bright parts, not the place that the bundle knows.
    expected = nib.affines.apply_affine(AFFINE, (17.5, 8.0, 1.5))
    np.testing.assert_allclose(record["Center_mm"], expected, atol=1e-4)
    shown = command("info", bundle).out
    assert "what finder finds; else 0.785714 of the image towards L" in shown
    assert "(drawn)" in shown


def test_where_the_task_finds_nothing_the_usual_place_is_taken(tmp_path):
    data = np.full((28, 26, 4), 0.1, np.float32)
    data[13, 13] = 0.3
    dark = write_image(tmp_path / "dark.nii.gz", data, AFFINE)
    write_bundle(bundle_directory("finder"), "threshold", name="finder")
    bundle = _with_prior(tmp_path, task="finder", position=PLACE)
    _, notices = _found(deepseg_lite.load(bundle, device="cpu"), dark, center_prior=True)
    assert "the place where the cord usually is" in notices["no-center"].text


def test_a_prior_that_is_not_there_is_told(tmp_path, bundle, image, mask, tiny_bundle):
    with pytest.raises(OptionError, match=r"does not say where the cord is.*`center_task`"):
        deepseg_lite.load(bundle, device="cpu")(image, center_prior=True)
    with pytest.raises(OptionError, match="leave `center`"):
        deepseg_lite.load(tiny_bundle, device="cpu")(image, center_prior=True)
    away = deepseg_lite.load(_with_prior(tmp_path, task="nowhere"), device="cpu")
    with pytest.raises(BundleNotFoundError, match="nowhere"):
        away(image, center_prior=True)
    with pytest.raises(OptionError, match="`center` and `center_prior` were given"):
        away(image, center=str(mask), center_prior=True)
    _, notices = _found(away, image)  # nobody asks for the prior
    assert "`center_prior` moves that to the cord" in notices["slices-empty"].text


def test_a_model_that_finds_nothing_leaves_the_middle(tmp_path, bundle, image):
    data = np.full((28, 26, 4), 0.1, np.float32)
    data[13, 13] = 0.3
    dark = write_image(tmp_path / "dark.nii.gz", data, AFFINE)
    other = write_bundle(tmp_path / "finder", "threshold")
    _, notices = _found(deepseg_lite.load(bundle, device="cpu"), dark, center_task=str(other))
    assert "no-center" in notices


def test_a_model_that_looks_around_another_one_can_find_the_center(tmp_path, bundle, image):
    write_bundle(tmp_path / "tiny.first", name="tiny.first")
    finder = write_bundle(
        tmp_path / "finder",
        prior={"bundle": "tiny.first", "channels": ["t2"]},
        preprocessing=[{"step": "crop_around_prior", "margin_mm": [1, 1, 1]}],
    )
    segment = deepseg_lite.load(bundle, device="cpu")
    found, expected = (
        segment(image, center_task=str(task)) for task in (finder, tmp_path / "tiny.first")
    )
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))


def test_what_cannot_be_a_center_is_refused(tmp_path, bundle, image, mask, command, tiny_bundle):
    segment = deepseg_lite.load(bundle, device="cpu")
    empty = write_image(tmp_path / "empty.nii.gz", np.ones((2, 2, 2), np.uint8), AFFINE * 40)
    with pytest.raises(ImageError, match="inside the image"):
        segment(image, center=str(empty))
    with pytest.raises(OptionError, match="one of them is needed"):
        segment(image, center=str(mask), center_task=str(tiny_bundle))
    pair = write_bundle(tmp_path / "pair", "channels")
    with pytest.raises(OptionError, match="a model of several images"):
        segment(image, center_task=str(pair))
    plain = deepseg_lite.load(tiny_bundle, device="cpu")
    for options in ({"center": str(mask)}, {"center_task": str(bundle)}, {"reorient": True}):
        with pytest.raises(OptionError, match="leave"):
            plain(image, **options)
    outcome = command("run", bundle, "-i", image, "-i", mask, "--center", mask)
    assert outcome.code == 1
    assert "the mask of one case" in outcome.err


def test_another_orientation_is_told_or_undone(tmp_path, bundle, image):
    turned = nib.load(image).as_reoriented(np.array([[0, -1], [2, 1], [1, -1]]))
    path = tmp_path / "turned.nii.gz"
    nib.save(turned, path)
    segment = deepseg_lite.load(bundle, device="cpu")
    expected, _ = _found(segment, image)
    as_stored, notices = _found(segment, path)
    assert notices["orientation"].figures["trained"] == "LAS"
    assert as_stored.shape == turned.shape
    found, notices = _found(segment, path, reorient=True)
    assert "orientation" not in notices
    np.testing.assert_array_equal(found[::-1].transpose(0, 2, 1)[:, :, ::-1], expected)


def test_the_threshold_acts_before_the_way_back(bundle, image):
    segment = deepseg_lite.load(bundle, device="cpu")
    soft, _ = _found(segment, image, threshold=0)
    assert soft.dtype == np.float32
    assert len(np.unique(soft)) > 2
    none, _ = _found(segment, image, threshold=0.7)  # logits reach 0.65
    assert none.dtype == np.uint8
    assert not none.any()


def test_the_middle_is_that_of_the_box_inside_the_image():
    image = Volume(np.empty((0, 10, 10, 4), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    mask = np.zeros((30, 30, 30))
    mask[2:5, 7:30, :] = 1
    assert middle_of(mask, np.eye(4), image) == (3.0, 8.0, 1.5)
    assert middle_of(mask[::-1], np.eye(4), image) is None
