"""The conformance kit: each array against numpy's own way, and the program in Node that uses it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image
from helpers.paths import ROOT

import deepseg_lite
from deepseg_lite.store.cache import models_directory

NODE = ROOT / "examples" / "node"


def read_kit(folder):
    """Return the document and the arrays of a kit, by their names without the number."""
    document = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    arrays = {}
    for row in document["arrays"]:
        array = np.load(folder / row["file"], allow_pickle=False)
        assert (list(array.shape), str(array.dtype)) == (row["shape"], row["dtype"])
        arrays[row["file"][3:-4]] = array
    return document, arrays


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "t2.nii.gz", make_data(), make_affine("LPS"))


def test_every_step_is_there_and_leads_to_the_result(command, tiny_bundle, image, tmp_path):
    done = command("conformance", tiny_bundle, "-o", tmp_path / "kit", "-i", image)
    assert (done.code, done.out) == (0, f"{tmp_path / 'kit'}\n")
    document, arrays = read_kit(tmp_path / "kit")
    assert document["bundle"] == {"name": "tiny_threshold", "version": "1.0"}
    data = make_data()
    np.testing.assert_array_equal(arrays["image"], data[None])
    # LPS to LAS turns y around; the network has z, y, x.
    oriented = data[:, ::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(arrays["oriented"][0], oriented)
    inside = np.argwhere(oriented)
    box = tuple(map(slice, inside.min(0), inside.max(0) + 1))
    np.testing.assert_array_equal(arrays["normalize"][0], oriented[box])
    assert arrays["importance"].shape == (8, 8, 8)
    first = tuple(slice(a, a + 8) for a in arrays["starts"][0])
    np.testing.assert_array_equal(arrays["input"][0, 0], arrays["padded"][0][first])
    assert arrays["output"].shape == (1, 2, 8, 8, 8)
    np.testing.assert_array_equal(arrays["labels"], arrays["logits"].argmax(0))
    np.testing.assert_array_equal(arrays["labels"], oriented[box] > 0.5)
    np.testing.assert_array_equal(arrays["result"], data > 0.5)
    assert list(arrays)[-1] == "result"


def test_what_the_first_model_found_is_there(command, image, tmp_path):
    write_bundle(tmp_path / "tiny.first", name="tiny.first")
    bundle = write_bundle(
        tmp_path / "tiny",
        prior={"bundle": "tiny.first", "channels": ["t2"]},
        preprocessing=[{"step": "crop_around_prior", "margin_mm": [0, 0, None]}],
    )
    done = command("conformance", bundle, "-o", tmp_path / "kit", "-i", image)
    assert done.code == 0, done.err
    _, arrays = read_kit(tmp_path / "kit")
    found = make_data() > 0.5
    np.testing.assert_array_equal(arrays["prior"] > 0, found)
    oriented = found[:, ::-1].transpose(2, 1, 0)
    inside = np.argwhere(oriented)
    z, y = (slice(a, b + 1) for a, b in zip(inside.min(0)[:2], inside.max(0)[:2], strict=True))
    np.testing.assert_array_equal(arrays["crop_around_prior"][0], arrays["oriented"][0][z, y])
    np.testing.assert_array_equal(arrays["result"] > 0, found)


def test_tiles_and_weights_give_the_logits(command, image, tmp_path):
    bundle = write_bundle(tmp_path / "made", "regions")
    command("conformance", bundle, "-o", tmp_path / "kit", "-i", image, "--device", "cpu")
    _, arrays = read_kit(tmp_path / "kit")
    starts, weights = arrays["starts"], np.zeros(arrays["padded"].shape[1:])
    for start in starts:
        box = tuple(slice(a, a + n) for a, n in zip(start, arrays["importance"].shape, strict=True))
        weights[box] += arrays["importance"]
    assert (weights > 0).all()
    # The network looks at single voxels, so blending changes nothing.
    first = tuple(slice(a, a + n) for a, n in zip(starts[0], (1, 8, 8), strict=True))
    np.testing.assert_allclose(
        arrays["logits"][(slice(None), *first)], arrays["output"][0], rtol=1e-5, atol=1e-6
    )


def test_models_of_more_than_one_manifest_are_refused(command, image, tmp_path):
    faces = ("superior", "inferior", "left", "right", "anterior", "posterior")
    crop = {"detector": "sc_crop", "padding_mm": dict.fromkeys(faces, 1)}
    bundle = write_bundle(tmp_path / "made", cord_crop=crop)
    done = command("conformance", bundle, "-o", tmp_path / "kit", "-i", image)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "a crop around the cord" in done.err
    assert not (tmp_path / "kit").exists()


def test_without_a_reference_an_image_is_needed(command, tiny_bundle, tmp_path):
    done = command("conformance", tiny_bundle, "-o", tmp_path / "kit")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "has no reference cases" in done.err


def node_modules() -> str | None:
    """Return the folder that has onnxruntime-node: of the example, or of NODE_PATH."""
    for folder in (str(NODE / "node_modules"), *os.environ.get("NODE_PATH", "").split(os.pathsep)):
        if folder and os.path.isdir(os.path.join(folder, "onnxruntime-node")):
            return folder
    return None


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
@pytest.mark.skipif(node_modules() is None, reason="onnxruntime-node is not here")
def test_node_gets_the_same_labels(command, tmp_path):
    command("conformance", "sc_gm_t2star", "-o", tmp_path / "kit", "--device", "cpu")
    bundle = models_directory() / "sc_gm_t2star" / "bundle"

    def run(*arguments):
        return subprocess.run(
            ["node", NODE / "segment.cjs", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "NODE_PATH": node_modules() or ""},
        )

    done = run(bundle, tmp_path / "kit")
    assert (done.returncode, done.stderr) == (0, "")
    assert "labels that differ: 0\nvoxels of the image that differ: 0\n" in done.stdout
    _, arrays = read_kit(tmp_path / "kit")
    assert f"voxels with a label: {np.count_nonzero(arrays['result'])}\n" in done.stdout
    (file,) = (tmp_path / "kit").glob("*_result.npy")
    wrong = arrays["result"].copy()
    wrong[0, 0, 0] += 1
    np.save(file, wrong)
    done = run(bundle, tmp_path / "kit")
    assert done.returncode == 1
    assert "voxels of the image that differ: 1\n" in done.stdout


def test_the_kit_of_the_shipped_model_ends_in_its_result(command, tmp_path):
    phantom = deepseg_lite.make_phantom(3, shape=(112, 104, 2))
    image = write_image(tmp_path / "t2s.nii.gz", phantom.image, phantom.affine)
    command("conformance", "sc_gm_t2star", "-o", tmp_path / "kit", "-i", image, "--device", "cpu")
    _, arrays = read_kit(tmp_path / "kit")
    labels = deepseg_lite.load("sc_gm_t2star", device="cpu")(image)
    assert np.any(arrays["result"])
    np.testing.assert_array_equal(arrays["result"], np.asarray(labels.dataobj))
