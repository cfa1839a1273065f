"""Models whose result is maps, and cascades: one model's result is where the next one looks."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, voxels, write_bundle, write_image

import deepseg_lite
from deepseg_lite.errors import BundleNotFoundError
from deepseg_lite.store.cache import bundle_directory

MAPS = {
    "activation": "softmax",
    "values": "maps",
    "channels": 2,
    "before_undo": [],
    "labels": [{"name": "rest", "values": [1]}, {"name": "cord", "values": [2]}],
    "regions_class_order": None,
    "files": [
        {"suffix": "rest", "kind": "mask", "labels": ["rest"]},
        {"suffix": "cord", "kind": "mask", "labels": ["cord"]},
    ],
}
HALF = {"step": "binarize", "threshold": 0.5, "inclusive": True}
SMALL = {"step": "remove_small", "minimum": [1, 3], "unit": "vox"}
STRIDE = {
    "patch_size": [8, 8, 8],
    "stride": [4, 4, 4],
    "placement": "stride",
    "importance_map": "constant",
}
BLOCK = (slice(6, 15), slice(4, 13), slice(2, 11))


@pytest.fixture
def maps(tmp_path):
    return write_bundle(tmp_path / "maps", outputs=MAPS, postprocessing=[HALF, SMALL])


@pytest.fixture
def images(tmp_path):
    """Write two images: a bright block in the first is where the second is looked at."""
    block = np.full((20, 18, 12), 0.2, np.float32)
    block[BLOCK] = 0.9
    affine = make_affine("LAS", degrees=(0, 0, 0))
    first = write_image(tmp_path / "first.nii", block, affine)
    return first, write_image(tmp_path / "second.nii", make_data(), affine)


@pytest.fixture
def cascade(tmp_path):
    """Write a model of two channels that crops to what another finds in the first of them."""
    write_bundle(tmp_path / "tiny.first", name="tiny.first")
    return write_bundle(
        tmp_path / "tiny",
        "channels",
        name="tiny",
        prior={"bundle": "tiny.first", "channels": ["t1"]},
        preprocessing=[{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}],
        sliding_window=STRIDE,
        mirror_axes=[],
    )


@pytest.fixture
def around(tmp_path):
    """Write a model that looks around what another finds."""
    largest = [{"step": "keep_largest"}]
    write_bundle(tmp_path / "tiny.first", name="tiny.first", postprocessing=largest)
    return write_bundle(
        tmp_path / "tiny",
        name="tiny",
        prior={"bundle": "tiny.first", "channels": ["t2"]},
        preprocessing=[{"step": "crop_around_prior", "margin_mm": [None, 2, 2]}],
    )


def _run(command, *words):
    outcome = command("run", *words, "--json", "--overwrite")
    assert outcome.code == 0, outcome.err
    (result,) = json.loads(outcome.out)["results"]
    return result, [voxels(path) for path in result["outputs"]]


def test_every_map_is_a_file_after_the_models_own_steps(command, maps, images):
    image = nib.load(images[0])
    data = np.asarray(image.dataobj).copy()
    data[1, 1, 1] = 0.9  # an object of one voxel
    alone = write_image(images[0].with_name("alone.nii"), data, image.affine)
    _, (rest, cord) = _run(command, maps, "-i", alone)
    block = np.zeros(data.shape, np.uint8)
    block[BLOCK] = 1
    assert (rest.dtype, cord.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(rest, data < 0.5)
    np.testing.assert_array_equal(cord, block)


@pytest.mark.parametrize("words", [["--soft"], ["-thr", "0"]], ids=" ".join)
def test_probabilities_are_left_as_they_are(command, maps, image_file, words):
    result, (rest, cord) = _run(command, maps, "-i", image_file, *words)
    assert cord.dtype == np.float32
    assert len(np.unique(cord)) > 100
    inside = (cord > 0) & (rest > 0)
    np.testing.assert_allclose((rest + cord)[inside], 1, atol=1e-6)
    suffix = "cord_softseg" if words == ["--soft"] else "cord"
    assert result["outputs"][1].endswith(f"t2_{suffix}.nii.gz")


def test_the_users_steps_replace_the_models_or_join_them(command, maps, image_file):
    soft = np.asarray(
        deepseg_lite.load(maps, device="cpu")(image_file, soft=True).dataobj, np.float32
    )
    _, (_, cord) = _run(command, maps, "-i", image_file, "-thr", "0.9", "-remove-small", "1")
    np.testing.assert_array_equal(cord, soft[..., 1] >= 0.9)
    _, found = _run(command, maps, "-i", image_file, "-largest", "1")
    together = np.stack(found)
    assert 0 < together.sum() < np.prod(together.shape[1:])


def test_a_models_own_step_can_be_left_out(command, tmp_path, image_file):
    steps = [HALF, {"step": "keep_largest"}, {"step": "fill_holes"}]
    bundle = write_bundle(tmp_path / "b", outputs=MAPS, postprocessing=steps)
    _, (_, cleaned) = _run(command, bundle, "-i", image_file)
    _, (_, plain) = _run(command, bundle, "-i", image_file, "-largest", "0", "-fill-holes", "0")
    np.testing.assert_array_equal(plain, make_data() > 0.5)
    assert (cleaned != plain).any()


def test_a_label_map_of_maps(command, tmp_path, image_file):
    outputs = {
        **{key: MAPS[key] for key in ("activation", "channels", "regions_class_order")},
        "values": "labels",
        "before_undo": [{"step": "argmax"}],
        "labels": [{"name": "cord", "values": [1]}],
    }
    bundle = write_bundle(tmp_path / "b", outputs=outputs)
    _, (labels,) = _run(command, bundle, "-i", image_file)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, make_data() > 0.5)
    _, (soft,) = _run(command, bundle, "-i", image_file, "--soft")
    np.testing.assert_array_equal(soft > 0.5, make_data() > 0.5)


@pytest.mark.parametrize(
    ("outputs", "words", "message"),
    [
        ({}, ["--ensemble", "majority"], "folds vote on labels alone"),
        ({"before_undo": [HALF]}, ["--threshold", "0.3"], "a threshold comes too late"),
    ],
)
def test_what_maps_cannot_do_is_refused(command, tmp_path, image_file, outputs, words, message):
    bundle = write_bundle(tmp_path / "b", outputs={**MAPS, **outputs})
    outcome = command("run", bundle, "-i", image_file, *words)
    assert outcome.code == 1
    assert message in outcome.err


def test_the_second_model_looks_where_the_first_found_something(command, cascade, images):
    words = [word for image in images for word in ("-i", image)]
    result, (labels,) = _run(command, cascade, *words)
    block = np.zeros(labels.shape, bool)
    # ivadomed's box: the last voxel is left out, then it grows until patches fit, 8 or 12 voxels.
    block[6:14, 4:12, 2:10] = True
    assert not labels[~block].any()
    assert labels[block].any()
    assert result["Bundle"]["name"] == "tiny"


def test_nothing_found_by_the_first_is_an_error(command, cascade, images):
    _, second = images
    dark = write_image(second.with_name("dark.nii"), np.full((20, 18, 12), 0.2, np.float32))
    outcome = command("run", cascade, "-i", dark, "-i", dark)
    assert outcome.code == 1
    assert "first stage found nothing" in outcome.err
    assert outcome.err.count("\n") == 1


def test_the_second_model_looks_around_what_the_first_found(command, around, images):
    image = nib.load(images[0])
    data = np.asarray(image.dataobj).copy()
    data[18, 16, 3] = data[10, 8, 0] = 0.9  # far in plane, and in another slice
    result, (labels,) = _run(command, around, "-i", write_image(images[0], data, image.affine))
    expected = np.zeros(labels.shape, bool)
    expected[BLOCK] = expected[10, 8, 0] = True
    np.testing.assert_array_equal(labels > 0, expected)
    assert result["Warnings"] == []


def test_where_the_first_found_nothing_the_second_looks_everywhere(command, around, images):
    _, second = images
    dark = write_image(second.with_name("dark.nii"), np.full((20, 18, 12), 0.2, np.float32))
    result, (labels,) = _run(command, around, "-i", dark)
    assert not labels.any()
    assert "no-prior" in [notice["code"] for notice in result["Warnings"]]


def test_a_missing_first_model_is_told_before_any_work(cascade, images):
    (cascade.parent / "tiny.first" / "manifest.json").unlink()
    segment = deepseg_lite.load(cascade, device="cpu")
    with pytest.raises(BundleNotFoundError, match=r"tiny needs the bundle tiny\.first"):
        segment(*images)
    write_bundle(bundle_directory("tiny.first"), name="tiny.first")
    assert np.asarray(segment(*images).dataobj).any()


def test_patches_at_a_stride_must_fit(command, tmp_path, image_file):
    bundle = write_bundle(tmp_path / "b", sliding_window=STRIDE, mirror_axes=[])
    outcome = command("run", bundle, "-i", image_file)
    assert outcome.code == 1
    assert "voxels after resampling and cropping" in outcome.err
    assert "leave --step out" in command("run", bundle, "-i", image_file, "--step", "0.5").err
