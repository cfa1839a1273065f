"""Forms of networks: which devices take them, and what a manifest may say of them."""

from __future__ import annotations

import hashlib

import pytest
from helpers.bundles import make_manifest, write_bundle
from helpers.paths import DATA

from deepseg_lite.bundles.bundle import parse_manifest, read_bundle
from deepseg_lite.bundles.files import CANONICAL, checked_network
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


@pytest.fixture
def with_form(tmp_path):
    """Return a bundle whose form is another small network, and the form."""
    content = (DATA / "threshold_3d_high.onnx").read_bytes()
    changes = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    folder = write_bundle(tmp_path / "a", networks=networks(**changes))
    (folder / "form.onnx").write_bytes(content)
    bundle = read_bundle(folder)
    return bundle, bundle.networks[0].forms[0]


def test_a_form_and_its_weights_are_opened(with_form):
    bundle, form = with_form
    with checked_network(bundle, form) as path:
        assert path == bundle.path / "form.onnx"


def opens(path):
    """Return what was opened."""
    return path


def fails(path):
    """Raise what opening may raise."""
    raise RuntimeError(f"{path} cannot be opened")


@pytest.mark.parametrize("opening", [opens, fails])
def test_other_weights_are_the_error_whatever_came_of_opening_them(with_form, opening):
    bundle, form = with_form
    weights = bundle.path / form.weights.path
    weights.write_bytes(bytes(weights.stat().st_size))
    corrupt = pytest.raises(ChecksumError, match=rf"{weights.name} is corrupt or was changed")
    with corrupt, checked_network(bundle, form) as path:
        opening(path)


def test_what_opening_raises_is_the_error_where_the_weights_are_right(with_form):
    with pytest.raises(RuntimeError, match="cannot be opened"), checked_network(*with_form) as path:
        fails(path)


@pytest.mark.parametrize("size", [0, 7, None])
def test_weights_of_another_size_are_not_opened(with_form, size):
    bundle, form = with_form
    weights = bundle.path / form.weights.path
    if size is None:
        weights.unlink()
    else:
        weights.write_bytes(bytes(size))
    opened = []
    with pytest.raises(ChecksumError), checked_network(bundle, form) as path:
        opened.append(path)
    assert not opened


def test_a_changed_form_is_not_opened(with_form):
    bundle, form = with_form
    file = bundle.path / "form.onnx"
    file.write_bytes(bytes(file.stat().st_size))
    opened = []
    with (
        pytest.raises(ChecksumError, match=r"form\.onnx is corrupt"),
        checked_network(bundle, form) as path,
    ):
        opened.append(path)
    assert not opened
