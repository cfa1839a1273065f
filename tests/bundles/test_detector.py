"""Detector bundles: read, refused, fetched and removed like any other, but never run."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers.bundles import write_bundle
from helpers.detector import FILES, make_detector_manifest, write_detector
from helpers.hub import HubServer
from helpers.paths import DATA

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.detector import detector_problems, read_any, read_detector
from deepseg_lite.bundles.files import read_network
from deepseg_lite.engines.onnxruntime_network import CPU, OnnxNetwork
from deepseg_lite.errors import BundleError, BundleNotFoundError, ChecksumError
from deepseg_lite.store import cache, fetch


@pytest.fixture
def folder(tmp_path):
    return write_detector(tmp_path / "tiny_detector")


def test_a_detector_is_read(folder):
    bundle = read_detector(folder)
    assert bundle.name == "tiny_detector"
    assert [network.path for network in bundle.networks] == list(FILES.values())
    assert bundle.settings.percentiles == (0.5, 99.5)
    assert bundle.settings.padding_mm["posterior"] == 22
    assert bundle.size == sum((DATA / file).stat().st_size for file in FILES.values())
    assert read_any(folder) == bundle


def test_a_model_that_segments_is_read_as_that(tiny_bundle):
    assert read_any(tiny_bundle) == read_bundle(tiny_bundle)


def test_a_detector_cannot_be_run_by_itself(folder, command, image_file):
    message = "tiny_detector finds the cord for other tasks; it cannot be run by itself"
    with pytest.raises(BundleError, match=message):
        read_bundle(folder)
    outcome = command("run", folder, "-i", image_file)
    assert outcome.code == 1
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_model_that_segments_is_no_detector(tiny_bundle):
    with pytest.raises(BundleError, match="does not find the cord"):
        read_detector(tiny_bundle)


def test_nothing_there_is_no_detector(tmp_path):
    with pytest.raises(BundleNotFoundError, match="is not a bundle"):
        read_detector(tmp_path / "nowhere")


def test_a_missing_network_is_told(folder):
    (folder / FILES["classifier"]).unlink()
    with pytest.raises(ChecksumError, match=r"cord_classifier\.onnx is missing"):
        read_detector(folder)


def test_a_changed_network_is_refused(folder):
    file = folder / FILES["detector"]
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    bundle = read_detector(folder)
    with pytest.raises(ChecksumError, match=r"cord_detector\.onnx is corrupt"):
        read_network(bundle, bundle.networks[0])


BAD = {
    "version": ({"schema": 2}, "schema is 2"),
    "unknown key": ({"inputs": {}}, "inputs"),
    "no classifier": ({"networks": {}}, "networks: 'detector' is a required property"),
    "settings": ({"settings": {"image_size": 320}}, r"settings: 'slice_spacing_mm' is .* more"),
    "name": ({"name": "../x"}, "name: "),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_an_invalid_manifest_is_refused(tmp_path, changes, message):
    folder = write_detector(tmp_path / "bad", **changes)
    with pytest.raises(BundleError, match=message):
        read_detector(folder)


def test_what_a_schema_cannot_say_is_checked():
    manifest = make_detector_manifest()
    manifest["networks"]["classifier"]["path"] = FILES["detector"]
    manifest["settings"]["percentiles"] = [99.5, 0.5]
    assert detector_problems(manifest) == [
        "networks: every path must be there once",
        "settings.percentiles: the lower one comes first",
    ]


def test_its_networks_open_and_answer(folder):
    bundle = read_detector(folder)
    detector, classifier = (OnnxNetwork(bundle, network, CPU, 1) for network in bundle.networks)
    pictures = np.linspace(0, 1, 3 * 64 * 96, dtype=np.float32).reshape(1, 3, 64, 96)
    assert detector(pictures).shape == (1, 2, 6)
    answer = classifier(np.zeros((1, 3, 320, 320), np.float32))
    np.testing.assert_allclose(answer, [[0.5, 0.5]])


def test_it_is_fetched_from_a_mirror_and_removed(folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        server.mirror = {f"tiny_detector/{name}": data for name, data in files.items()}
        mirror = f"{server.url}/mirror"
        installed = fetch.fetch("tiny_detector", mirror=mirror)
        assert installed.fetched
        assert read_detector(cache.bundle_directory("tiny_detector")) == installed.bundle
        assert not fetch.fetch("tiny_detector", mirror=mirror).fetched
        server.shutdown()
    assert cache.remove("tiny_detector") > installed.bundle.size
    assert cache.locate("tiny_detector") is None


def test_a_damaged_one_is_not_installed(folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files[FILES["classifier"]] = bytes(len(files[FILES["classifier"]]))
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        server.mirror = {f"tiny_detector/{name}": data for name, data in files.items()}
        with pytest.raises(ChecksumError, match=r"cord_classifier\.onnx"):
            fetch.fetch("tiny_detector", mirror=f"{server.url}/mirror")
        server.shutdown()
    assert cache.locate("tiny_detector") is None


def test_a_bundle_of_either_kind_can_have_the_others_place(tmp_path):
    assert read_any(write_bundle(tmp_path / "a")).name == "tiny_threshold"
    assert read_any(write_detector(tmp_path / "b")).name == "tiny_detector"
