"""Reference cases added to bundles: what is copied, what is refused."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, voxels, write_image
from helpers.click_runner import invoke

import deepseg_lite
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.verification.receipt import make_receipt

pytest.importorskip("onnx")
pytestmark = pytest.mark.export

from deepseg_export.cli.group import cli  # noqa: E402

TRUTH = (make_data() > 0.5).astype(np.uint8)


@pytest.fixture
def image(tmp_path):
    """Write an image whose header tells of a person."""
    path = write_image(tmp_path / "sub-1 t2.nii.gz", make_data(), make_affine("LPS"))
    opened = nib.load(path)
    opened.header["descrip"] = b"Somebody's name"
    nib.save(nib.Nifti1Image(make_data(), opened.affine, opened.header), path)
    return path


@pytest.fixture
def labels(tmp_path):
    return write_image(tmp_path / "labels.nii.gz", TRUTH, make_affine("LPS"))


def reference(bundle, *arguments):
    return invoke(cli, ["reference", bundle, *arguments])


def test_results_made_elsewhere_become_a_reference(tiny_bundle, image, labels):
    words = ("--image", image, "--labels", labels, "--software", "SCT 6.5", "--date", "2026-01-31")
    done = reference(tiny_bundle, *words, "--license", "CC0-1.0", "--bound", "3", "int8=7")
    assert (done.exit_code, done.stdout) == (0, f"{tiny_bundle}\n"), done.output
    bundle = read_bundle(tiny_bundle)
    (made,) = bundle.references
    assert (made.name, made.software, made.date) == ("sub-1-t2", "SCT 6.5", "2026-01-31")
    assert (made.bounds, made.license) == ({"fp32": 3, "int8": 7}, "CC0-1.0")
    (copy,) = made.images
    np.testing.assert_array_equal(voxels(tiny_bundle / copy.path), make_data())
    header = nib.load(tiny_bundle / copy.path).header
    assert b"Somebody" not in bytes(header.binaryblock)
    receipt = make_receipt(deepseg_lite.load(tiny_bundle, device="cpu"))
    (row,) = receipt["references"]
    assert (row["differing"], receipt["within"]) == (0, True)
    assert "| sub-1-t2 |" in (tiny_bundle / "README.md").read_text(encoding="utf-8")


def test_a_case_of_the_same_name_is_replaced_and_others_stay(tiny_bundle, image, labels, tmp_path):
    other = write_image(tmp_path / "other.nii.gz", make_data(seed=1), make_affine("LPS"))
    for each, software in ((image, "one"), (other, "two"), (image, "three")):
        done = reference(tiny_bundle, "--image", each, "--labels", labels, "--software", software)
        assert done.exit_code == 0, done.output
    found = {each.name: each.software for each in read_bundle(tiny_bundle).references}
    assert found == {"other": "two", "sub-1-t2": "three"}


def test_the_default_bound_knows_the_labels(tiny_bundle, tmp_path):
    data = np.full((200, 200, 3), 0.1, np.float32)
    data[:50, :30] = 0.9
    image = write_image(tmp_path / "a.nii.gz", data)
    for count, bound in ((30, 12), (2, 3)):  # 12 of 120,000 voxels; 3 of 300 with a label
        mask = np.zeros(data.shape, np.uint8)
        mask[:50, :count] = 1
        labels = write_image(tmp_path / "l.nii.gz", mask)
        reference(tiny_bundle, "--image", image, "--labels", labels, "--software", "x")
        assert read_bundle(tiny_bundle).references[0].bounds == {"fp32": bound}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": TRUTH[:-1]}, "have shape"),
        ({"labels": TRUTH * 7}, "have the values 7, which the model never gives (0, 1)"),
        ({"labels": TRUTH * 0.5}, "have the values 0.5"),
        ({"images": 2}, "1 files of labels were given for 2 cases"),
        ({"software": " "}, "not what made them"),
        ({"image": "phantom:1"}, "have shape"),
        ({"image": "nowhere.nii"}, "does not exist"),
    ],
)
def test_what_does_not_fit_changes_nothing(tiny_bundle, image, tmp_path, change, words):
    given = write_image(
        tmp_path / "l.nii.gz", change.get("labels", TRUTH).astype(np.float32), make_affine("LPS")
    )
    before = {f.name: f.read_bytes() for f in tiny_bundle.iterdir()}
    images = [change.get("image", image)] * change.get("images", 1)
    done = reference(
        *(tiny_bundle, "--image", *images, "--labels", given),
        *("--software", change.get("software", "x")),
    )
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert words in done.stderr
    assert {f.name: f.read_bytes() for f in tiny_bundle.iterdir()} == before


def test_labels_or_a_model_are_needed(tiny_bundle, image, labels):
    done = reference(tiny_bundle, "--image", image)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "either --labels or --model" in done.stderr
    both = ("--labels", labels, "--model", "m", "--software", "x")
    assert reference(tiny_bundle, "--image", image, *both).exit_code == 1


def test_families_whose_original_is_not_run_ask_for_results(tmp_path, image):
    (tmp_path / "m.h5").write_bytes(b"no model is read before this is known")
    words = ("keras", tmp_path / "m.h5", "-o", tmp_path / "b", "--reference", image)
    done = invoke(cli, words)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "--reference-labels" in done.stderr or "h5py" in done.stderr
    done = invoke(
        cli, ["keras", tmp_path / "m.h5", "-o", tmp_path / "b.onnx", "--reference-license", "x"]
    )
    assert "--reference names the images" in done.stderr


def test_quantized_copies_keep_them(tiny_bundle, image, labels):
    """What is copied beside variants are the files that the manifest lists."""
    reference(tiny_bundle, "--image", image, "--labels", labels, "--software", "x")
    listed = json.loads((tiny_bundle / "manifest.json").read_text(encoding="utf-8"))["references"]
    done = invoke(cli, ["quantize", tiny_bundle, "--fp16-weights", "--held-out", image, "--force"])
    assert done.exit_code == 0, done.output
    bundle = read_bundle(tiny_bundle)
    assert json.loads(json.dumps(bundle.manifest["references"])) == listed
    for file in bundle.reference_files:
        assert (tiny_bundle / file.path).stat().st_size == file.size


@pytest.mark.parametrize(
    ("part", "message"), [("prior", "what another model finds"), ("cord_crop", "the crop")]
)
def test_what_nnunet_does_not_do_is_not_asked_of_it(part, message, tmp_path):
    from deepseg_export.errors import UnsupportedError
    from deepseg_export.families.nnunet import Options
    from deepseg_export.families.nnunet.original import segment

    with pytest.raises(UnsupportedError, match=message):
        list(segment(tmp_path, Options(), {part: {}}, []))
