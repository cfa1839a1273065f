"""Forms of networks: which devices take them, and what a manifest may say of them."""

from __future__ import annotations

import pytest
from helpers.bundles import make_manifest, write_bundle

from deepseg_lite.bundles.bundle import parse_manifest, read_bundle
from deepseg_lite.bundles.files import CANONICAL
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.engines.engine import OPENVINO, Engine
from deepseg_lite.errors import BundleError, ChecksumError

CPU = "CPUExecutionProvider"
FORM = {
    "form": "slices",
    "devices": ["cpu"],
    "path": "form.onnx",
    "sha256": "0" * 64,
    "size": 7,
    "agreement": {"max_abs_error": 0, "max_rel_error": 0},
}


def networks(**changes):
    (network,) = make_manifest()["networks"]
    return [{**network, "forms": [{**FORM, **changes}]}]


def test_the_device_takes_its_form(tmp_path):
    folder = write_bundle(tmp_path / "a", networks=networks())
    (folder / "form.onnx").write_bytes(b"content")
    bundle = read_bundle(folder)
    (network,) = bundle.networks
    (form,) = network.forms

    assert Engine(CPU).file(bundle, network) is form
    assert (form.form, form.weights.path) == ("slices", network.path)
    for engine in (
        Engine(CPU, form=CANONICAL),
        Engine(OPENVINO),
        Engine(OPENVINO, "bf16"),
        Engine("CUDAExecutionProvider"),
    ):
        assert engine.file(bundle, network) is network
    assert [file.path for file in bundle.files] == [network.path, "form.onnx"]
    assert bundle.size == network.size + 7


def test_forms_are_files_of_the_bundle(tmp_path):
    with pytest.raises(ChecksumError, match=r"form\.onnx is missing"):
        read_bundle(write_bundle(tmp_path / "a", networks=networks()))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"form": "other"}, "form"),
        ({"devices": []}, "devices"),
        ({"devices": ["cuda"]}, "devices"),
        ({"path": "../form.onnx"}, "path"),
        ({"path": "threshold_3d.onnx"}, "every path must be there once"),
        ({"weights": "other.onnx"}, "weights"),
    ],
)
def test_manifests_say_what_forms_are(changes, problem):
    problems = manifest_problems({**make_manifest(), "networks": networks(**changes)})
    assert problem in " ".join(problems)


def test_lone_files_have_no_forms(tmp_path):
    manifest = {**make_manifest(), "networks": networks()}
    with pytest.raises(BundleError, match="canonical form alone"):
        parse_manifest(manifest, tmp_path / "a.onnx", lone_file=True)
